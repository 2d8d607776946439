"""Pseudonyms of users in the audit trail. Without its entry here, a pseudonym belongs to no one."""

import secrets
from collections.abc import Iterable, Mapping

from redis.asyncio import Redis

from swell.store import keys
from swell.store.connections.redis import text, translated

_OF = """
local pseudonym = redis.call('HGET', KEYS[1], ARGV[1])
if pseudonym then return pseudonym end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[1])
return ARGV[2]
"""


class Pseudonyms:
    """A random pseudonym for each name, made when it is first needed."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._of = redis.register_script(_OF)

    async def of(self, names: Iterable[str]) -> Mapping[str, str]:
        """The pseudonyms of *names*; missing ones are made."""
        found = {}
        with translated():
            for name in names:
                pseudonym = f"person-{secrets.token_hex(8)}"
                found[name] = text(await self._of([keys.AUDIT_PSEUDONYMS, keys.AUDIT_NAMES], [name, pseudonym]))
        return found

    async def names(self) -> Mapping[str, str]:
        """The names of all pseudonyms that are known."""
        with translated():
            stored = await self._redis.hgetall(keys.AUDIT_NAMES)
        return {text(pseudonym): text(name) for pseudonym, name in stored.items()}

    async def names_of(self, pseudonyms: Iterable[str]) -> Mapping[str, str]:
        """The names of those *pseudonyms* that are known."""
        wanted = list(pseudonyms)
        if not wanted:
            return {}
        with translated():
            found = await self._redis.hmget(keys.AUDIT_NAMES, wanted)
        return {pseudonym: text(name) for pseudonym, name in zip(wanted, found, strict=True) if name}

    async def remove(self, name: str) -> str | None:
        """Forget whose pseudonym is that of *name*; return it, or None if *name* has none."""
        with translated():
            pseudonym = await self._redis.hget(keys.AUDIT_PSEUDONYMS, name)
            if pseudonym is None:
                return None
            await self._redis.hdel(keys.AUDIT_NAMES, text(pseudonym))
            await self._redis.hdel(keys.AUDIT_PSEUDONYMS, name)
        return text(pseudonym)
