"""Buckets of permits in Redis: one atomic script that uses the clock of Redis."""

import asyncio

from redis.asyncio import Redis

from gateway.domain.quota import Client, Kind, Quota, Taken
from swell.errors import Unavailable
from swell.store import keys
from swell.store.connections.redis import translated

DEADLINE = 0.5  # seconds; pulls wait for it

# The value is when the bucket is full again, in microseconds since the epoch; a missing key means: full. All numbers
# are integers below 2^53, so the doubles of Lua are exact.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local permits, step, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full = math.max(tonumber(redis.call('GET', KEYS[1])) or 0, now)
local free = permits - math.ceil((full - now) / step)
local granted = math.min(wanted, math.max(free, 0))
full = math.max(full + granted * step, now)
if full == now then
    redis.call('DEL', KEYS[1])
elseif granted ~= 0 then
    redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
end
return {granted, math.max(full - (permits - 1) * step - now, 0), full - now}
"""


class RedisBuckets:
    """One key per client and kind; it expires when the bucket is full. A call takes at most *deadline* seconds."""

    def __init__(self, redis: Redis, deadline: float = DEADLINE) -> None:
        self._script = redis.register_script(_TAKE)
        self._deadline = deadline

    async def take(self, kind: Kind, client: Client, quota: Quota, wanted: int) -> Taken:
        """Take at most *wanted* permits.

        Raises:
            Unavailable: Redis does not respond.
        """
        try:
            async with asyncio.timeout(self._deadline):
                with translated():
                    granted, wait, reset = await self._script(
                        [_key(kind, client, quota)], [quota.permits, quota.step, wanted]
                    )
        except TimeoutError:
            raise Unavailable("the state store does not answer in time") from None
        return Taken(int(granted), wait / 1e6, reset / 1e6)


def _key(kind: Kind, client: Client, quota: Quota) -> str:
    """Tokens of each lifetime have their own bucket: after the setting is shortened, old permits would return late."""
    owner = f"user:{client.user}" if client.user else f"address:{client.address}"
    return keys.limit(kind, owner + (f":{quota.seconds}" if kind is Kind.TOKEN else ""))
