"""The running workers: each publishes what it is regularly, and the operator may drain it."""

import socket
from collections.abc import Sequence
from datetime import timedelta

import msgspec
from msgspec import structs
from redis.asyncio import Redis

from swell.api.operator import Worker
from swell.store import keys
from swell.store.connections.redis import text, translated

LIFE = timedelta(minutes=1)
DRAINED_LIFE = timedelta(days=30)  # after its worker has last published
MAX_WORKERS = 1000

# KEYS: the set of ids, the record, the mark of a drained worker. ARGV: id, record, life (s), life of the mark (s).
_PUBLISH = f"""
local now = redis.call('TIME')[1]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= {MAX_WORKERS} then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
return redis.call('EXPIRE', KEYS[3], ARGV[4])
"""


def worker_id(listen: str) -> str:
    """Return the id of this process: the name of its host and the port of *listen* (`host:port`).

    It is the same after a restart of the process or of its container.
    """
    return f"{socket.gethostname()}-{listen.rpartition(':')[2]}"


class Workers:
    """Records of workers, which expire a minute after they were last published.

    Raises:
        Unavailable: every method, when Redis does not answer.
    """

    def __init__(self, redis: Redis, life: timedelta = LIFE) -> None:
        self._redis = redis
        self._life = int(life.total_seconds())
        self._publish = redis.register_script(_PUBLISH)

    async def publish(self, worker: Worker) -> bool:
        """Publish *worker*; return whether the operator has drained it."""
        names = [keys.WORKERS, keys.worker(worker.id), keys.drained_worker(worker.id)]
        record = msgspec.json.encode(worker)
        with translated():
            return bool(await self._publish(names, [worker.id, record, self._life, int(DRAINED_LIFE.total_seconds())]))

    async def all(self) -> list[Worker]:
        """Return the running workers by id, at most 1,000."""
        with translated():
            ids = await self._redis.zrange(keys.WORKERS, 0, MAX_WORKERS - 1)
        return await self._read(sorted(map(text, ids)))

    async def get(self, worker_id: str) -> Worker | None:
        """Return the worker; None if it does not run."""
        workers = await self._read([worker_id])
        return workers[0] if workers else None

    async def _read(self, ids: Sequence[str]) -> list[Worker]:
        if not ids:
            return []
        with translated():
            records = await self._redis.mget([keys.worker(each) for each in ids])
            marks = await self._redis.mget([keys.drained_worker(each) for each in ids])
        return [
            structs.replace(msgspec.json.decode(record, type=Worker), drained=mark is not None)
            for record, mark in zip(records, marks, strict=True)
            if record
        ]

    async def set_drained(self, worker_id: str, *, drained: bool) -> None:
        """Drain the worker, or let it take jobs again; it follows when it publishes next."""
        with translated():
            if drained:
                await self._redis.set(keys.drained_worker(worker_id), 1, ex=DRAINED_LIFE)
            else:
                await self._redis.delete(keys.drained_worker(worker_id))
