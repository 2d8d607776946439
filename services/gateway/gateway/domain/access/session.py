"""A browser's session: the identity of a user who has signed in."""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.access.identity import Identity

MOST_SESSIONS = 20
"""Of one user; a further one ends the oldest."""


class Session(Struct, frozen=True, kw_only=True):
    """The identity as it was at sign-in; it ends at `expires`, or when it is revoked."""

    identity: Identity
    started: datetime
    expires: datetime


def new_session(identity: Identity, now: datetime, lifetime: timedelta) -> Session:
    """Return a session of *identity*, which lasts for *lifetime*; the lifetime of the issuer's token does not count.

    What the user makes with it, such as API keys, ends with the session at the latest.
    """
    expires = now + lifetime
    return Session(identity=replace(identity, expires=expires), started=now, expires=expires)
