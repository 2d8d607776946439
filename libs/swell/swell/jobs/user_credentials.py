"""The lookup of users' credentials at a gateway; see `swell.registry.credentials.user_credentials`.

The reply contains a password. It passes NATS once and is not stored.
"""

import asyncio
from time import monotonic

from msgspec import Struct

from swell.concurrency.tasks import TaskOwner
from swell.errors import Unavailable
from swell.jobs.calls import NoReply, call
from swell.jobs.streams import Nats
from swell.oci.reference import Reference
from swell.registry.credentials.keyring import Credentials
from swell.registry.credentials.principal import Principal
from swell.registry.credentials.user_credentials import UserCredentials

SUBJECT = "credentials.find"
SECONDS = 25.0
"""Longer than a gateway waits for a Seqera Platform."""
ASK_AGAIN_SECONDS = 3.0
"""Without a reply after this time, another gateway is asked too: the first one may have died."""


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
            return (await _first_reply(nats, question)).credentials
        except Unavailable as error:
            raise Unavailable(f"the credentials for {reference.registry} cannot be looked up: {error}") from error

    return UserCredentials(find)


async def _first_reply(nats: Nats, question: FindCredentials) -> FoundCredentials:
    """Ask one gateway, and after each 3 s without a reply another one, within 25 s; return the first reply.

    Raises:
        SwellError: the error in the first reply.
        Unavailable: no gateway replies.
    """
    deadline = monotonic() + SECONDS
    async with TaskOwner() as calls:
        asked: set[asyncio.Task[FoundCredentials]] = set()
        while (left := deadline - monotonic()) > 0:
            asked.add(calls.start(call(nats, SUBJECT, question, FoundCredentials, left)))
            done, asked = await asyncio.wait(asked, timeout=ASK_AGAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                if not isinstance(each.exception(), NoReply):
                    return each.result()
        raise NoReply
