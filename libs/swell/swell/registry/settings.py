"""What services that talk to registries are told, each field as SWELL_<FIELD>."""

from swell.net.outbound import Reach
from swell.registry.principal import CredentialRules, rules_of


class RegistrySettings(Reach, frozen=True, kw_only=True):
    """The operator's own AWS keys, with which roles are assumed; and where AWS is asked instead of its public endpoints
    (a VPC's). Credentials for single registries are in the auth file, AWS keys for Amazon's registries included.

    `build_repository`, `cache_repository` and `public_repository` are those of the gateway: this server pushes there.
    Images of `shared_registries` (`registry` or `registry/path`) are read with the operator's credentials for anybody.
    """

    aws_access_key_id: str = ""
    aws_secret_access_key: str = ""
    aws_session_token: str | None = None
    aws_ecr_endpoint: str | None = None
    aws_ecr_public_endpoint: str | None = None
    aws_sts_endpoint: str | None = None
    build_repository: str | None = None
    cache_repository: str | None = None
    public_repository: str | None = None
    shared_registries: frozenset[str] = frozenset()

    @property
    def credential_rules(self) -> CredentialRules:
        own = self.build_repository, self.cache_repository, self.public_repository
        return rules_of(own, self.shared_registries)
