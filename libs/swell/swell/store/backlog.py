"""What waits in the queues of builds and scans, for the operator."""

import time
from datetime import datetime

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from swell.store import keys
from swell.store.connections.redis import text, translated

MAX_CLIENTS = 1000

# ARGV: the most clients. Returns how many builds wait in the queues of clients, and the id of the oldest one.
_WAITING = f"""{keys.LUA}
local count, first, oldest = 0, nil, ''
for _, client in ipairs(redis.call('SRANDMEMBER', CLIENTS, ARGV[1])) do
    local waiting = waiting_key(client)
    count = count + redis.call('ZCARD', waiting)
    local head = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
    if head[1] and (not first or tonumber(head[2]) < first) then
        first, oldest = tonumber(head[2]), head[1]
    end
end
return {{count, oldest}}
"""


class Backlog(Struct, frozen=True, kw_only=True):
    """Numbers of builds and scans that have not ended; ages are in seconds, 0 if nothing waits.

    - `waiting` builds wait in the queues of their clients, counted for 1,000 of these.
    - `ready` builds have been released, and no builder has started them; `running` ones have been started.
    - The jobs of `unpublished` builds are not in the message queue yet.
    - `oldest_waiting` is since the request, `oldest_ready` since the release, `oldest_scan` since the request.
    - `engines` and `scanners` are the different programs of running workers.
    """

    waiting: int
    ready: int
    running: int
    unpublished: int
    oldest_waiting: float
    oldest_ready: float
    scans: int
    oldest_scan: float
    engines: int
    scanners: int


class _Submitted(Struct):
    created: datetime


class RedisBacklog:
    """Reads the backlog; raises `Unavailable` when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._waiting = redis.register_script(_WAITING)

    async def read(self) -> Backlog:
        now = time.time()
        with translated():
            waiting, oldest = await self._waiting([], [MAX_CLIENTS])
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.zcard(keys.QUEUE_READY)
                pipe.zcard(keys.UNFINISHED)
                pipe.zcard(keys.UNPUBLISHED)
                pipe.zrange(keys.QUEUE_READY, 0, 0)
                pipe.zcard(keys.SCANS_UNFINISHED)
                pipe.zrange(keys.SCANS_UNFINISHED, 0, 0, withscores=True)
                pipe.zcount(keys.ENGINE_NAMES, now, "+inf")
                pipe.zcount(keys.SCANNER_NAMES, now, "+inf")
                ready, released, unpublished, first, scans, first_scan, engines, scanners = await pipe.execute()
            since = await self._redis.zscore(keys.UNFINISHED, first[0]) if first else None
            submitted = await self._redis.get(keys.build(text(oldest), keys.SUBMISSION)) if oldest else None
        created = msgspec.json.decode(submitted, type=_Submitted).created.timestamp() if submitted else now
        return Backlog(
            waiting=int(waiting),
            ready=ready,
            running=max(released - ready, 0),
            unpublished=unpublished,
            oldest_waiting=max(now - created, 0.0),
            oldest_ready=max(now - since, 0.0) if since else 0.0,
            scans=scans,
            oldest_scan=max(now - first_scan[0][1], 0.0) if first_scan else 0.0,
            engines=engines,
            scanners=scanners,
        )
