"""Leases of tokens in Redis: a hash of the leases of each token, and a sorted set of the runs to look up.

The grant of a token expires at the latest end of its leases. Every change is one script.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from time import time

import msgspec
from msgspec.structs import replace
from redis.asyncio import Redis

from gateway.access.leases import MAX_LEASES, Held, LeasedToken
from gateway.domain.grant import Grant
from swell.store import keys
from swell.store.connections.redis import text, translated

_END = """
local function ends(key, now)
  local last, count = tonumber(redis.call('HGET', key, 'base')), 0
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 6) == 'until:' then
      local ends_at = tonumber(fields[i + 1])
      if ends_at <= now then
        redis.call('HDEL', key, fields[i])
      else
        count = count + 1
        if ends_at > last then last = ends_at end
      end
    end
  end
  return last, count
end
"""

_HOLD = (
    _END
    + """
local now, field, ends_at, is_new = tonumber(ARGV[1]), 'until:' .. ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
if redis.call('GET', KEYS[1]) ~= ARGV[5] then return -2 end
redis.call('HSETNX', KEYS[2], 'base', ARGV[7])
local _, count = ends(KEYS[2], now)
local exists = redis.call('HEXISTS', KEYS[2], field) == 1
if not is_new and not exists then return -1 end
if not exists and count >= tonumber(ARGV[9]) then return -3 end
redis.call('HSET', KEYS[2], field, ends_at)
local last = ends(KEYS[2], now)
redis.call('SET', KEYS[1], ARGV[6], 'EXAT', last)
redis.call('EXPIREAT', KEYS[2], ARGV[8])
return last
"""
)

_RELEASE = (
    _END
    + """
local now, field = tonumber(ARGV[1]), 'until:' .. ARGV[2]
ends(KEYS[2], now)
if redis.call('HDEL', KEYS[2], field) == 0 then return -1 end
local last = ends(KEYS[2], now)
redis.call('EXPIREAT', KEYS[1], last)
return last
"""
)

_CLAIM = """
local now = tonumber(ARGV[1])
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, token in ipairs(due) do redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), token) end
return due
"""

_GONE, _CHANGED, _FULL = -1, -2, -3
_TRIES = 5


class RedisLeases:
    """See `gateway.access.leases.Leases`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._hold = redis.register_script(_HOLD)
        self._release = redis.register_script(_RELEASE)
        self._claim = redis.register_script(_CLAIM)

    async def leased(self, token: str, limit: timedelta) -> LeasedToken | None:
        with translated():
            value, base = await self._redis.get(keys.grant(token)), await self._redis.hget(keys.leases(token), "base")
        if value is None:
            return None
        grant = msgspec.json.decode(value, type=Grant)
        end = datetime.fromtimestamp(int(base), UTC) if base else grant.expires
        latest = max(grant.created + limit, end)
        return LeasedToken(token, end.replace(microsecond=0), latest.replace(microsecond=0))

    async def hold(self, token: LeasedToken, name: str, until: datetime, *, is_new: bool) -> Held:
        names = [keys.grant(token.token), keys.leases(token.token)]
        for _ in range(_TRIES):
            with translated():
                current = await self._redis.get(names[0])
                if current is None:
                    return Held(None)
                grant = msgspec.json.decode(current, type=Grant)
                changed = msgspec.json.encode(replace(grant, expires=max(grant.expires, token.latest)))
                ends = [int(token.base.timestamp()), int(token.latest.timestamp()) + 60, MAX_LEASES]
                arguments = [int(time()), name, int(until.timestamp()), int(is_new), current, changed, *ends]
                result = int(await self._hold(names, arguments))
            if result != _CHANGED:
                break
        if result in {_FULL, _GONE, _CHANGED}:
            return Held(None, is_full=result == _FULL)
        return Held(datetime.fromtimestamp(result, UTC))

    async def release(self, token: LeasedToken, name: str) -> Held:
        names = [keys.grant(token.token), keys.leases(token.token)]
        with translated():
            result = int(await self._release(names, [int(time()), name]))
        return Held(None if result == _GONE else datetime.fromtimestamp(result, UTC))

    async def claim(self, count: int, seconds: float) -> Sequence[str]:
        with translated():
            return [text(each) for each in await self._claim([keys.LEASED_RUNS], [time(), count, seconds])]

    async def due_in(self, token: str, seconds: float) -> None:
        with translated():
            await self._redis.zadd(keys.LEASED_RUNS, {token: time() + seconds}, xx=True)

    async def forget(self, token: str) -> None:
        with translated():
            await self._redis.zrem(keys.LEASED_RUNS, token)

    async def run_of(self, token: str) -> str | None:
        with translated():
            value = await self._redis.hget(keys.leases(token), "workspace")
        return text(value) if value else None
