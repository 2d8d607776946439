"""The lookup of users' credentials at a gateway, which any service may need; see `swell.registry.user_credentials`.

The reply contains a password. It passes NATS once and is not stored.
"""

from msgspec import Struct

from swell.errors import Unavailable
from swell.jobs.calls import call
from swell.jobs.streams import Nats
from swell.oci.reference import Reference
from swell.registry.credentials import Credentials
from swell.registry.principal import Principal
from swell.registry.user_credentials import UserCredentials

SUBJECT = "credentials.find"
SECONDS = 25.0
"""Longer than a gateway waits for a Seqera Platform."""


class FindCredentials(Struct, frozen=True):
    """Find the credentials of the owners in *principal* for the repository *name* (`registry/path`)."""

    principal: Principal
    registry: str
    repository: str


class FoundCredentials(Struct, frozen=True):
    credentials: Credentials | None = None


def user_credentials(nats: Nats) -> UserCredentials:
    """Return the credentials of users, as the gateways find them."""

    async def find(principal: Principal, reference: Reference) -> Credentials | None:
        question = FindCredentials(principal, reference.registry, reference.repository)
        try:
            return (await call(nats, SUBJECT, question, FoundCredentials, SECONDS)).credentials
        except Unavailable as error:
            raise Unavailable(f"the credentials for {reference.registry} cannot be looked up: {error}") from error

    return UserCredentials(find)
