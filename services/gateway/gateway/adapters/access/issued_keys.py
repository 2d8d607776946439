"""Issued API keys in Redis, and the identities of those used most recently."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from math import inf

import msgspec
from redis.asyncio import Redis

from gateway.adapters.access.confirmed_cache import ConfirmedCache
from gateway.domain.access.api_key import PREFIX, IssuedKey, id_of, is_key
from gateway.domain.access.identity import Identity
from swell.errors import Unauthorized, Unavailable
from swell.jobs.messages import KeyChanged
from swell.observe.instruments import CacheCounter
from swell.store import keys
from swell.store.connections.redis import text, translated

ENDING_SECONDS = 10
"""Longer than a request runs between the check of its sender and the storing of a key."""
_CACHE_BYTES = 8 << 20
_LOOKUPS = CacheCounter("api-keys")

# Keys that have expired stay in the sets until their user has too many, or the sets are listed.
_ADD = """
local of_user, all, prefix = KEYS[2], KEYS[3], ARGV[5]
if redis.call('EXISTS', KEYS[4]) == 1 then return -1 end
local limit = tonumber(ARGV[4])
if redis.call('ZCARD', of_user) >= limit then
    for _, member in ipairs(redis.call('ZRANGE', of_user, 0, -1)) do
        if redis.call('EXISTS', prefix .. string.sub(member, 22)) == 0 then
            redis.call('ZREM', of_user, member)
            redis.call('ZREM', all, member)
        end
    end
    if redis.call('ZCARD', of_user) >= limit then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1])
if ARGV[2] ~= '' then redis.call('EXPIREAT', KEYS[1], ARGV[2]) end
redis.call('ZADD', of_user, 0, ARGV[3])
redis.call('ZADD', all, 0, ARGV[3])
return 1
"""
_REPLACE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
if ARGV[2] ~= '' then redis.call('EXPIREAT', KEYS[1], ARGV[2]) end
return 1
"""
_REMOVE = """
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return redis.call('DEL', KEYS[1])
"""


class RedisKeys:
    """A key is one string, which expires with it; two sorted sets list the keys of its user, and all keys."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add, self._replace, self._remove = map(redis.register_script, (_ADD, _REPLACE, _REMOVE))

    async def add(self, key: IssuedKey, limit: int) -> bool:
        """Store a new key; False if its user has *limit* keys already.

        Raises:
            Unavailable: the keys of the user are being revoked.
        """
        arguments = [msgspec.json.encode(key), _end(key), _member(key), limit, keys.api_key("")]
        with translated():
            added = int(await self._add([*_names(key), keys.ending(key.user)], arguments))
        if added < 0:
            raise Unavailable("the keys of this user are being revoked")
        return bool(added)

    async def begin_ending(self, user: str) -> None:
        """Refuse new keys of *user* for some seconds: requests that run now were checked before a change."""
        with translated():
            await self._redis.set(keys.ending(user), "1", ex=ENDING_SECONDS)

    async def get(self, key_id: str) -> IssuedKey | None:
        with translated():
            value = await self._redis.get(keys.api_key(key_id))
        return msgspec.json.decode(value, type=IssuedKey) if value else None

    async def replace(self, key: IssuedKey) -> bool:
        """Store *key* with other limits; False if it was revoked or has expired meanwhile."""
        with translated():
            return bool(await self._replace([keys.api_key(key.id)], [msgspec.json.encode(key), _end(key)]))

    async def remove(self, key: IssuedKey) -> bool:
        """Delete *key*; returns whether it existed."""
        with translated():
            return bool(await self._remove([*_names(key)], [_member(key)]))

    async def page(self, user: str | None, before: str | None, limit: int) -> tuple[Sequence[IssuedKey], str | None]:
        """At most *limit* keys of *user*, or of all users, newest first, and the cursor of the next page."""
        name = keys.api_keys_of(user) if user else keys.API_KEYS
        with translated():
            start = f"({before}" if before else "+"
            members = list(map(text, await self._redis.zrevrangebylex(name, start, "-", 0, limit)))
            values = await self._redis.mget([keys.api_key(_id(member)) for member in members]) if members else []
            if gone := [member for member, value in zip(members, values, strict=True) if value is None]:
                await self._redis.zrem(name, *gone)
        found = [msgspec.json.decode(value, type=IssuedKey) for value in values if value]
        return found, members[-1] if len(members) == limit else None


class IssuedKeys:
    """The identities of issued keys. A revoked key is dead everywhere within a second, as a revoked token is.

    See `docs/decisions/0008-links-and-revocation.md`.
    """

    def __init__(self, stored: RedisKeys, now: Callable[[], float] = time.monotonic) -> None:
        self._stored = stored
        self._cache: ConfirmedCache[Identity] = ConfirmedCache(
            self._read, _CACHE_BYTES, _weight, _expires, _LOOKUPS, now
        )

    async def identify(self, token: str, endpoint: str | None) -> Identity | None:  # noqa: ARG002  keys are local
        """The identity of the key *token*; None if it has not the form of an issued key.

        Raises:
            Unauthorized: the key is mistyped, unknown, revoked or expired.
            Unavailable: the store does not answer.
        """
        if not token.startswith(PREFIX):
            return None
        identity = await self._cache.get(id_of(token)) if is_key(token) else None
        if identity is None:
            raise Unauthorized("the API key is unknown, was revoked or has expired")
        return identity

    def on_changed(self, event: KeyChanged) -> None:
        """Drop what is cached of a key that a gateway has changed or revoked."""
        (self._cache.evict if event.revoked else self._cache.forget)(event.key_id)

    async def _read(self, key_id: str) -> Identity | None:
        key = await self._stored.get(key_id)
        return key.identity() if key else None


def _names(key: IssuedKey) -> tuple[str, str, str]:
    return keys.api_key(key.id), keys.api_keys_of(key.user), keys.API_KEYS


def _member(key: IssuedKey) -> str:
    """The time of creation in microseconds, as 20 digits, and the id."""
    return f"{int(key.created.timestamp() * 1_000_000):020d}:{key.id}"


def _id(member: str) -> str:
    return member.partition(":")[2]


def _end(key: IssuedKey) -> int | str:
    return int(key.expires.timestamp()) if isinstance(key.expires, datetime) else ""


def _expires(identity: Identity) -> float:
    return identity.expires.timestamp() if identity.expires else inf


def _weight(identity: Identity) -> int:
    return 2_000 + 8 * len(msgspec.json.encode(identity))
