"""The lookup of build secrets that users have stored: a builder asks a gateway.

The reply contains the secret. It passes NATS once and is not stored.
"""

from msgspec import Struct

from swell.jobs.calls import call
from swell.jobs.streams import Nats

SUBJECT = "secrets.find"
PREFIX = "vault."
"""The names of such secrets in builds and jobs begin with it; the rest is a hash of owner and path."""
SECONDS = 10.0


class FindSecret(Struct, frozen=True):
    """Find the secret *name*, which begins with `PREFIX`."""

    name: str


class FoundSecret(Struct, frozen=True):
    content: str

    def __repr__(self) -> str:
        return "FoundSecret(...)"


async def find_secret(nats: Nats, name: str) -> bytes:
    """Return the content of the secret *name*, as a gateway finds it, within 10 s.

    Raises:
        NotFound: it was deleted, or may not be used by builds any more.
        Unavailable: no gateway, or not its store, answers.
    """
    return (await call(nats, SUBJECT, FindSecret(name), FoundSecret, SECONDS)).content.encode()
