"""What services that talk to registries are told, each field as SWELL_<FIELD>."""

from swell.outbound import Reach


class RegistrySettings(Reach, frozen=True, kw_only=True):
    """The operator's own AWS keys, with which roles are assumed; and where AWS is asked instead of its public endpoints
    (a VPC's). Credentials for single registries are in the auth file, AWS keys for Amazon's registries included."""

    aws_access_key_id: str = ""
    aws_secret_access_key: str = ""
    aws_session_token: str | None = None
    aws_ecr_endpoint: str | None = None
    aws_ecr_public_endpoint: str | None = None
    aws_sts_endpoint: str | None = None
