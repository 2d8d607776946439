"""Stored sessions at a Seqera Platform: an access token that a client sent, and the tokens that have replaced it.

A client may send the first access token for as long as its run lives, although the Platform has issued a newer one.
"""

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol

import msgspec
from msgspec import Struct

from gateway.domain.platform import Login, Platform

SESSION_LIFE = timedelta(days=3)
"""Longer than any token of this server is renewed (two days)."""
REFRESH_TIME_LIMIT = timedelta(seconds=10)


class Session(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The newest tokens of a session; `presented` are the hashes of the refresh tokens that clients know."""

    endpoint: str
    token: str
    refresh_token: str = ""
    presented: tuple[str, ...] = ()

    def knows(self, refresh_token: str) -> bool:
        """Whether *refresh_token* is the first or one of the last of this session."""
        return bool(self.refresh_token) and hash_of(refresh_token) in self.presented

    def __repr__(self) -> str:
        return f"Session({self.endpoint!r}, ...)"

    @property
    def name(self) -> str:
        """The name under which a new session is stored: a hash of its access token, which is random."""
        return session_name(self.endpoint, self.token)


class Records(Protocol):
    """Encrypted values by name. Every method raises `Unavailable`."""

    async def get(self, name: str) -> bytes | None: ...

    async def put(self, name: str, value: bytes, lifetime: timedelta | None = None) -> None: ...


Lock = Callable[[str], Awaitable[AbstractAsyncContextManager[None] | None]]
"""Take the lock of a name for one process; None if it is held for too long."""


class Sessions:
    def __init__(self, records: Records, lock: Lock) -> None:
        self._records = records
        self._lock = lock

    async def get(self, name: str) -> Session | None:
        value = await self._records.get(name)
        return msgspec.json.decode(value, type=Session) if value else None

    async def put(self, name: str, session: Session) -> None:
        await self._records.put(name, msgspec.json.encode(session), SESSION_LIFE)

    async def of(self, platform: Platform, login: Login) -> tuple[str, Session]:
        """Return the session of *login*, and its name.

        The newest tokens are used only for a client that knows a refresh token of the session: an old access token
        alone opens nothing.
        """
        first = Session(endpoint=platform.endpoint, token=login.token or "", refresh_token=login.refresh_token or "")
        stored = await self.get(first.name)
        if stored and login.refresh_token and stored.knows(login.refresh_token):
            return first.name, stored
        presented = (hash_of(login.refresh_token),) if login.refresh_token else ()
        if stored and stored.token == first.token and not login.refresh_token:
            return first.name, msgspec.structs.replace(stored, refresh_token="")
        return first.name, msgspec.structs.replace(first, presented=presented)

    async def remember(self, name: str, session: Session) -> None:
        """Store *session*, whose access token works, unless a newer one with a refresh token is stored already."""
        stored = await self.get(name)
        if stored and stored.refresh_token and not session.refresh_token:
            session = stored
        await self.put(name, session)

    def lock(self, name: str) -> Awaitable[AbstractAsyncContextManager[None] | None]:
        return self._lock(name)


def session_name(endpoint: str, token: str) -> str:
    return "platform-session:" + hashlib.blake2b(f"{endpoint}\0{token}".encode(), digest_size=20).hexdigest()


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
