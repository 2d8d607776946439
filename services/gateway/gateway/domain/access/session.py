"""A browser's session: the identity of a user who has signed in."""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.access.identity import Identity

MOST_SESSIONS = 20
"""Of one user; a further one ends the oldest."""


class Session(Struct, frozen=True, kw_only=True):
    """The identity as it was at sign-in; it ends at `expires`, or when it is revoked.

    One that began with a password has the mark of its account, and ends when the account has another one.
    """

    identity: Identity
    started: datetime
    expires: datetime
    account_mark: str = ""


def new_session(identity: Identity, now: datetime, lifetime: timedelta, account_mark: str = "") -> Session:
    """Return a session of *identity*, which lasts for *lifetime*; the lifetime of the issuer's token does not count.

    API keys that the user makes with it end with the session at the latest, unless they end with an account.
    """
    expires = now + lifetime
    identity = replace(identity, expires=None if account_mark else expires)
    return Session(identity=identity, started=now, expires=expires, account_mark=account_mark)
