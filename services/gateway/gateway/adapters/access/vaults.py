"""Vaults in Redis: what is known of the credentials of an owner in one record, each secret in an encrypted one."""

import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Protocol
from urllib.parse import quote

import msgspec
from redis.asyncio import Redis

from gateway.adapters.access.confirmed_cache import ConfirmedCache
from gateway.domain.access.vault import Entry, VaultState
from swell.errors import Unavailable
from swell.jobs.messages import VaultChanged
from swell.observe.instruments import CacheCounter
from swell.registry.credentials.keyring import Credentials
from swell.store import keys
from swell.store.connections.redis import raw, translated
from swell.store.encrypted import EncryptedRecords

_CACHE_BYTES = 8 << 20
_LOOKUPS = CacheCounter("vaults")
_ATTEMPTS = 20

_REPLACE = """
local current = redis.call('GET', KEYS[1])
if (current or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class Connection(Protocol):
    """The connection to NATS, over which events of changes arrive."""

    @property
    def is_connected(self) -> bool: ...

    @property
    def stats(self) -> Mapping[str, int]: ...


class RedisVaults:
    """A change of a vault replaces its record only if no other one has changed it since it was read.

    Raises:
        Unavailable: every method, when Redis does not answer.
    """

    def __init__(self, redis: Redis, records: EncryptedRecords) -> None:
        self._redis = redis
        self._records = records
        self._replace = redis.register_script(_REPLACE)

    async def put(self, owner: str, path: str, entry: Entry, credentials: Credentials, limit: int) -> VaultState | None:
        """Store an entry and its secret; None if the vault has *limit* others."""
        for _ in range(_ATTEMPTS):
            content, state = await self._read(owner)
            if path not in state.entries and len(state.entries) >= limit:
                return None
            await self._records.put(_secret(owner, path), msgspec.json.encode(credentials))
            if await self._write(owner, content, changed := state.with_entry(path, entry)):
                return changed
        raise Unavailable("the vault is changed by many requests at once")

    async def delete(self, owner: str, path: str) -> VaultState | None:
        """Delete an entry, then its secret; None if there is no entry."""
        for _ in range(_ATTEMPTS):
            content, state = await self._read(owner)
            if path not in state.entries:
                return None
            if await self._write(owner, content, changed := state.without_entry(path)):
                await self._records.delete(_secret(owner, path))
                return changed
        raise Unavailable("the vault is changed by many requests at once")

    async def state(self, owner: str) -> VaultState:
        """Return the state of the vault of *owner* as it is now."""
        return (await self._read(owner))[1]

    async def credentials(self, owner: str, path: str) -> Credentials | None:
        """Return a stored credential.

        Raises:
            DecryptionFailed: its key is missing.
        """
        content = await self._records.get(_secret(owner, path))
        return msgspec.json.decode(content, type=Credentials) if content else None

    async def _read(self, owner: str) -> tuple[bytes, VaultState]:
        with translated():
            content = raw(await self._redis.get(keys.vault(owner)) or b"")
        return content, msgspec.json.decode(content, type=VaultState) if content else VaultState()

    async def _write(self, owner: str, current: bytes, changed: VaultState) -> bool:
        with translated():
            return bool(await self._replace([keys.vault(owner)], [current, msgspec.json.encode(changed)]))


class CachedStates:
    """The states of the vaults used most recently; one that is missing is cached as empty.

    Events of changes arrive over *connection*. While it is interrupted, and after that, no state from before is used:
    each request reads the vault.
    """

    def __init__(self, vaults: RedisVaults, connection: Connection, now: Callable[[], float] = time.monotonic) -> None:
        self._vaults = vaults
        self._connection = connection
        self._reconnects = connection.stats["reconnects"]
        self._cache = ConfirmedCache[VaultState](vaults.state, _CACHE_BYTES, _weight, lambda _: inf, _LOOKUPS, now)

    async def get(self, owner: str) -> VaultState:
        if not self._receives_events():
            return await self._vaults.state(owner)
        return await self._cache.get(owner) or VaultState()

    def fresh(self, owner: str) -> VaultState | None:
        """The state that `get` returns without a call, if there is one."""
        return self._cache.fresh(owner) if self._receives_events() else None

    def is_fresh(self, owner: str, state: VaultState) -> bool:
        """Whether *state* is what `get` returns without a call."""
        return self._receives_events() and self._cache.is_fresh(owner, state)

    def on_changed(self, event: VaultChanged) -> None:
        """Drop the state of a vault that a gateway has changed."""
        self._cache.forget(event.owner)

    def _receives_events(self) -> bool:
        """Whether the connection holds; drops all states after it was interrupted."""
        if not self._connection.is_connected:
            return False
        if (reconnects := self._connection.stats["reconnects"]) != self._reconnects:
            self._reconnects = reconnects
            self._cache.clear()
        return True


def _secret(owner: str, path: str) -> str:
    """The name of an encrypted record. A colon in the name of an owner is quoted, so that it does not end there."""
    kind, _, name = owner.partition(":")
    return f"vault:{kind}:{quote(name, safe='@+/')}:{path}"


def _weight(state: VaultState) -> int:
    return 500 + 600 * (len(state.entries) + len(state.withdrawn))
