"""The configuration of the server that container requests depend on."""

from datetime import timedelta
from urllib.parse import urlsplit

from msgspec import Struct

from gateway.domain.access.lease_terms import LeaseTerms
from gateway.domain.repositories import Repositories


class ServerConfig(Struct, frozen=True, kw_only=True):
    """The public address of this server, its repositories, and the lifetime of its tokens.

    With `allows_missing_platforms`, the image of a request need not exist for the requested platform.
    `conda_default_channels` are what the Conda channel `defaults` stands for.
    """

    server_url: str
    repositories: Repositories
    token_ttl: timedelta
    allows_missing_platforms: bool = False
    conda_default_channels: tuple[str, ...] = ()
    lease_terms: LeaseTerms = LeaseTerms()

    @property
    def authority(self) -> str:
        """The host of the server's URL, with its port."""
        return urlsplit(self.server_url).netloc
