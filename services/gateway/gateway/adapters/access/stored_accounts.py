"""Accounts in Redis. They are read for each request: a change counts everywhere at once."""

from collections.abc import Sequence

import msgspec
from redis.asyncio import Redis

from gateway.domain.access.account import Account
from swell.store import keys
from swell.store.connections.redis import raw, text, translated

_ADD = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then return -1 end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], 0, ARGV[2])
return 1
"""
_REPLACE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class RedisAccounts:
    """An account is one string; a sorted set lists their names.

    Raises:
        Unavailable: every method, when Redis does not answer.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add, self._replace = redis.register_script(_ADD), redis.register_script(_REPLACE)

    async def add(self, account: Account, limit: int) -> bool | None:
        """Store a new account; False if its name is taken, None if there are *limit* accounts."""
        names = [keys.account(account.name), keys.ACCOUNTS]
        with translated():
            added = int(await self._add(names, [msgspec.json.encode(account), account.name, limit]))
        return None if added < 0 else bool(added)

    async def get(self, name: str) -> Account | None:
        with translated():
            content = await self._redis.get(keys.account(name))
        return msgspec.json.decode(raw(content), type=Account) if content else None

    async def exist(self) -> bool:
        """Return whether there is an account."""
        with translated():
            return bool(await self._redis.exists(keys.ACCOUNTS))

    async def replace(self, former: Account, account: Account) -> bool:
        """Store *account* instead of *former*; False if another request has changed or removed it."""
        name = keys.account(account.name)
        with translated():
            content = raw(await self._redis.get(name) or b"")
            if not content or msgspec.json.decode(content, type=Account) != former:
                return False
            return bool(await self._replace([name], [content, msgspec.json.encode(account)]))

    async def remove(self, name: str) -> bool:
        """Delete an account; returns whether it existed."""
        with translated():
            await self._redis.zrem(keys.ACCOUNTS, name)
            return bool(await self._redis.delete(keys.account(name)))

    async def page(self, after: str | None, limit: int) -> tuple[Sequence[Account], str | None]:
        """At most *limit* accounts after the name *after*, and the cursor of the next ones."""
        with translated():
            start = f"({after}" if after else "-"
            names = list(map(text, await self._redis.zrangebylex(keys.ACCOUNTS, start, "+", 0, limit)))
            values = await self._redis.mget([keys.account(name) for name in names]) if names else []
        accounts = [msgspec.json.decode(raw(value), type=Account) for value in values if value]
        return accounts, names[-1] if len(names) == limit else None
