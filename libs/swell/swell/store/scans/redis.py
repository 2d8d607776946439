"""Scans in Redis; see `Scans` for the methods."""

import time
from datetime import datetime, timedelta

import msgspec
from redis.asyncio import Redis

from swell.store import keys
from swell.store.connections.redis import text, translated
from swell.store.scans.protocol import AFFECTED_LIMIT, WAITING_LIMIT, too_many_wait
from swell.store.scans.records import AffectedScan, Scan, ScanResult, ScanSubmission

Arguments = list[str | bytes | int | float]

LIFE = timedelta(days=90)
_BATCH = 100

# KEYS: scan of the key, scans of the client.
# ARGV: fingerprint, record, life (s), now, scans of the build or '', most scans of the client without a result.
# Returns the id and whether it is new; an empty id if the client has too many.
_REQUEST = f"""{keys.SCAN_LUA}
local current = redis.call('GET', KEYS[1])
if current and redis.call('EXISTS', scan_key(current, SUBMISSION)) == 1 then return {{current, 0}} end
local most = tonumber(ARGV[6])
if redis.call('SCARD', KEYS[2]) >= most then
    for _, other in ipairs(redis.call('SMEMBERS', KEYS[2])) do
        if not redis.call('ZSCORE', UNFINISHED, other) then redis.call('SREM', KEYS[2], other) end
    end
    if redis.call('SCARD', KEYS[2]) >= most then return {{'', 0}} end
end
local some = redis.call('HRANDFIELD', COUNTERS, 4, 'WITHVALUES')
for at = 1, #some, 2 do
    local newest = 'sc-' .. some[at] .. '_' .. some[at + 1]
    if redis.call('EXISTS', scan_key(newest, SUBMISSION), scan_key(newest, RESULT)) == 0 then
        redis.call('HDEL', COUNTERS, some[at])
    end
end
local id = 'sc-' .. ARGV[1] .. '_' .. redis.call('HINCRBY', COUNTERS, ARGV[1], 1)
redis.call('SET', scan_key(id, SUBMISSION), ARGV[2], 'EX', ARGV[3])
redis.call('SET', KEYS[1], id, 'EX', ARGV[3])
redis.call('ZADD', UNFINISHED, ARGV[4], id)
redis.call('SADD', KEYS[2], id)
redis.call('EXPIRE', KEYS[2], ARGV[3])
if ARGV[5] ~= '' then
    redis.call('SADD', ARGV[5], id)
    redis.call('EXPIRE', ARGV[5], ARGV[3])
end
return {{id, 1}}
"""

# KEYS: scan of the key. ARGV: id, result, life (s), time of the database or '' for a failed scan.
_FINISH = f"""{keys.SCAN_LUA}
redis.call('ZREM', UNFINISHED, ARGV[1])
local stored = redis.call('GET', scan_key(ARGV[1], RESULT))
if stored then return stored end
redis.call('SET', scan_key(ARGV[1], RESULT), ARGV[2], 'EX', ARGV[3])
if ARGV[4] ~= '' then
    redis.call('ZADD', MATCHED, ARGV[4], ARGV[1])
elseif redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
return ARGV[2]
"""

# ARGV: id, result, time of the database. The result expires when it would have expired.
_REPLACE = f"""{keys.SCAN_LUA}
if redis.call('SET', scan_key(ARGV[1], RESULT), ARGV[2], 'XX', 'KEEPTTL') then
    redis.call('ZADD', MATCHED, ARGV[3], ARGV[1])
else
    redis.call('ZREM', MATCHED, ARGV[1])
end
"""


class RedisScans:
    """Scans in Redis: records expire *life* after their submission."""

    def __init__(self, redis: Redis, life: timedelta = LIFE, waiting_limit: int = WAITING_LIMIT) -> None:
        self._redis = redis
        self._waiting_limit = waiting_limit
        self._life = int(life.total_seconds())
        self._request = redis.register_script(_REQUEST)
        self._finish = redis.register_script(_FINISH)
        self._replace = redis.register_script(_REPLACE)

    async def request(self, fingerprint: str, submission: ScanSubmission, client: str) -> tuple[str, bool]:
        waiting = keys.scans_of_build(submission.build_id) if submission.build_id and not submission.digest else ""
        record = msgspec.json.encode(submission)
        arguments: Arguments = [fingerprint, record, self._life, time.time(), waiting, self._waiting_limit]
        with translated():
            scan_id, is_new = await self._request(
                [keys.scan_of(submission.key), keys.scans_of_client(client)], arguments
            )
        if not scan_id:
            raise too_many_wait(self._waiting_limit)
        return text(scan_id), bool(is_new)

    async def get(self, scan_id: str) -> Scan | None:
        with translated():
            submission, result = await self._redis.mget(
                keys.scan(scan_id, keys.SUBMISSION), keys.scan(scan_id, keys.RESULT)
            )
        if submission is None:
            return None
        return Scan(
            id=scan_id,
            submission=msgspec.json.decode(submission, type=ScanSubmission),
            result=msgspec.json.decode(result, type=ScanResult) if result else None,
        )

    async def newest(self, fingerprint: str) -> int:
        with translated():
            return int(await self._redis.hget(keys.SCAN_COUNTERS, fingerprint) or 0)

    async def latest(self, key: str) -> Scan | None:
        with translated():
            scan_id = await self._redis.get(keys.scan_of(key))
        return await self.get(text(scan_id)) if scan_id else None

    async def of_build(self, build_id: str) -> list[str]:
        with translated():
            return sorted(text(each) for each in await self._redis.smembers(keys.scans_of_build(build_id)))

    async def name(self, scan_id: str, key: str) -> None:
        with translated():
            await self._redis.set(keys.scan_of(key), scan_id, nx=True, ex=self._life)

    async def finish(self, scan: Scan, result: ScanResult) -> ScanResult:
        matched = str(_moment(result)) if result.succeeded else ""
        arguments: Arguments = [scan.id, msgspec.json.encode(result), self._life, matched]
        with translated():
            stored = await self._finish([keys.scan_of(scan.submission.key)], arguments)
        return msgspec.json.decode(stored, type=ScanResult)

    async def replace(self, scan: Scan, result: ScanResult) -> None:
        with translated():
            await self._replace([], [scan.id, msgspec.json.encode(result), _moment(result)])

    async def reopen(self, scan_id: str) -> None:
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.delete(keys.scan(scan_id, keys.RESULT))
                pipe.zadd(keys.SCANS_UNFINISHED, {scan_id: time.time()})
                await pipe.execute()

    async def unfinished(self, age: timedelta) -> list[str]:
        until = time.time() - age.total_seconds()
        with translated():
            stored = await self._redis.zrangebyscore(keys.SCANS_UNFINISHED, "-inf", until, start=0, num=_BATCH)
        return [text(each) for each in stored]

    async def forget(self, scan_id: str) -> None:
        with translated():
            await self._redis.zrem(keys.SCANS_UNFINISHED, scan_id)
            await self._redis.zrem(keys.SCANS_MATCHED, scan_id)

    async def matched_before(self, built: datetime, skip: int = 0) -> list[str]:
        with translated():
            stored = await self._redis.zrangebyscore(
                keys.SCANS_MATCHED, "-inf", f"({built.timestamp()}", start=skip, num=_BATCH
            )
        return [text(each) for each in stored]

    async def add_affected(self, affected: AffectedScan) -> None:
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.lpush(keys.SCANS_AFFECTED, msgspec.json.encode(affected))
                pipe.ltrim(keys.SCANS_AFFECTED, 0, AFFECTED_LIMIT - 1)
                await pipe.execute()

    async def affected(self) -> list[AffectedScan]:
        with translated():
            stored = await self._redis.lrange(keys.SCANS_AFFECTED, 0, AFFECTED_LIMIT - 1)
        return [msgspec.json.decode(each, type=AffectedScan) for each in stored]


def _moment(result: ScanResult) -> float:
    """The time of the database that *result* was matched with; a result of no database is matched again at once."""
    return result.database.built.timestamp() if result.database else 0.0
