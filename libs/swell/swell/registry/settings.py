"""Settings of services that access registries; each field is read from SWELL_<FIELD>."""

from swell.net.outbound import Reach
from swell.registry.credentials.principal import CredentialRules, rules_of


class RegistrySettings(Reach, frozen=True, kw_only=True):
    """Settings for registries and for AWS.

    - `aws_access_key_id`, `aws_secret_access_key` and `aws_session_token` are the operator's keys, which assume roles.
      Keys for single registries are in the auth file.
    - `aws_*_endpoint` replace the public endpoints of AWS, for example in a VPC.
    - `build_repository`, `cache_repository` and `public_repository` have the values of the gateway: this server pushes
      to them.
    - Images of `shared_registries` (`registry` or `registry/path`) are read with the operator's credentials for every
      client.
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
        return rules_of(self._own, self.shared_registries)

    @property
    def known_hosts(self) -> frozenset[str]:
        """See `Reach.known_hosts`."""
        return frozenset(name.partition("/")[0] for name in (*self._own, *self.shared_registries) if name)

    @property
    def _own(self) -> tuple[str | None, ...]:
        return self.build_repository, self.cache_repository, self.public_repository
