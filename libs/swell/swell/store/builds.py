"""The builds: one at a time for each target image, numbered, and none forgotten between two steps."""

import time
from collections import Counter
from datetime import timedelta
from typing import Protocol

import msgspec
from redis.asyncio import Redis

from swell.store.records import Build, BuildResult, Submission
from swell.store.redis import text, translated

# One step: the number, the record, the index and the note that the job must still be published.
_SUBMIT = """
local current = redis.call('GET', KEYS[1])
if current and current ~= ARGV[5] then return {current, 0} end
local id = 'bd-' .. ARGV[1] .. '_' .. redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
redis.call('SET', 'swell:build:' .. id .. ':submission', ARGV[2], 'EX', ARGV[3])
redis.call('SET', KEYS[1], id, 'EX', ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[4], id)
redis.call('ZADD', KEYS[4], ARGV[4], id)
return {id, 1}
"""
_COUNTERS = "swell:build-counters"
_UNPUBLISHED = "swell:builds:unpublished"
_OPEN = "swell:builds:open"


class Builds(Protocol):
    """What is known of builds. The gateway submits and marks published; the builder finishes; all may read."""

    async def submit(self, submission: Submission, *, instead_of: str | None = None) -> tuple[str, bool]:
        """Register a build unless its target image has one already; answers the build id, and whether it is new.

        *instead_of* names an ended build that the new one may replace. A new one counts as unpublished.
        """

    async def published(self, build_id: str) -> None:
        """The job of *build_id* is in the queue."""

    async def unpublished(self, age: timedelta) -> list[str]:
        """The ids, at most a hundred, of builds that were submitted more than *age* ago and are not in the queue."""

    async def forget(self, build_id: str) -> None:
        """Nobody need look for *build_id* any more: it has ended, or its record has."""

    async def open(self, age: timedelta) -> list[str]:
        """The ids, at most a hundred, the oldest first, of builds submitted more than *age* ago that have not ended."""

    async def begin(self, build_id: str) -> int:
        """Somebody begins to build *build_id*; answers which attempt that is, from 1."""

    async def reopen(self, build_id: str) -> None:
        """Forget how *build_id* ended, and its attempts: it is to be built after all."""

    async def latest(self, target_image: str) -> Build | None:
        """The newest build of *target_image*."""

    async def get(self, build_id: str) -> Build | None: ...

    async def finish(self, build_id: str, result: BuildResult) -> BuildResult:
        """Record how *build_id* ended, unless that is known already; answers what is now known."""


class RedisBuilds:
    """Builds in Redis; a record lives *life* after its submission."""

    def __init__(self, redis: Redis, life: timedelta = timedelta(days=90)) -> None:
        self._redis = redis
        self._life = int(life.total_seconds())
        self._submit = redis.register_script(_SUBMIT)

    async def submit(self, submission: Submission, *, instead_of: str | None = None) -> tuple[str, bool]:
        keys = [_index(submission.target_image), _COUNTERS, _UNPUBLISHED, _OPEN]
        record = msgspec.json.encode(submission)
        values: list[str | bytes | int | float] = [
            submission.container_id,
            record,
            self._life,
            time.time(),
            instead_of or "",
        ]
        with translated():
            build_id, new = await self._submit(keys=keys, args=values)
        return text(build_id), bool(new)

    async def published(self, build_id: str) -> None:
        with translated():
            await self._redis.zrem(_UNPUBLISHED, build_id)

    async def unpublished(self, age: timedelta) -> list[str]:
        return await self._since(_UNPUBLISHED, age)

    async def open(self, age: timedelta) -> list[str]:
        return await self._since(_OPEN, age)

    async def _since(self, key: str, age: timedelta) -> list[str]:
        until = time.time() - age.total_seconds()
        with translated():
            found = await self._redis.zrangebyscore(key, "-inf", until, start=0, num=100)
        return [text(build_id) for build_id in found]

    async def forget(self, build_id: str) -> None:
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.zrem(_UNPUBLISHED, build_id)
                pipe.zrem(_OPEN, build_id)
                await pipe.execute()

    async def begin(self, build_id: str) -> int:
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.incr(_attempts(build_id))
                pipe.expire(_attempts(build_id), self._life)
                attempt, _ = await pipe.execute()
        return int(attempt)

    async def reopen(self, build_id: str) -> None:
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.delete(_result(build_id), _attempts(build_id))
                pipe.zadd(_OPEN, {build_id: time.time()})
                await pipe.execute()

    async def latest(self, target_image: str) -> Build | None:
        with translated():
            build_id = await self._redis.get(_index(target_image))
        return await self.get(text(build_id)) if build_id else None

    async def get(self, build_id: str) -> Build | None:
        with translated():
            submission, result = await self._redis.mget(_submission(build_id), _result(build_id))
        if submission is None:
            return None
        return Build(
            id=build_id,
            submission=msgspec.json.decode(submission, type=Submission),
            result=msgspec.json.decode(result, type=BuildResult) if result else None,
        )

    async def finish(self, build_id: str, result: BuildResult) -> BuildResult:
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.set(_result(build_id), msgspec.json.encode(result), nx=True, ex=self._life)
                pipe.zrem(_OPEN, build_id)
                first, _ = await pipe.execute()
            if first:
                return result
            known = await self._redis.get(_result(build_id))
        return msgspec.json.decode(known, type=BuildResult) if known else result


def _index(target_image: str) -> str:
    return f"swell:build-of:{target_image}"


def _submission(build_id: str) -> str:
    return f"swell:build:{build_id}:submission"


def _result(build_id: str) -> str:
    return f"swell:build:{build_id}:result"


def _attempts(build_id: str) -> str:
    return f"swell:build:{build_id}:attempts"


class MemoryBuilds:
    """The twin of RedisBuilds for unit tests."""

    def __init__(self) -> None:
        self._submissions: dict[str, Submission] = {}
        self._results: dict[str, BuildResult] = {}
        self._latest: dict[str, str] = {}
        self._counters: Counter[str] = Counter()
        self._unpublished: dict[str, float] = {}
        self._open: dict[str, float] = {}
        self._attempts: Counter[str] = Counter()

    async def submit(self, submission: Submission, *, instead_of: str | None = None) -> tuple[str, bool]:
        current = self._latest.get(submission.target_image)
        if current and current != instead_of:
            return current, False
        self._counters[submission.container_id] += 1
        build_id = f"bd-{submission.container_id}_{self._counters[submission.container_id]}"
        self._submissions[build_id] = submission
        self._latest[submission.target_image] = build_id
        self._unpublished[build_id] = self._open[build_id] = time.time()
        return build_id, True

    def submitted_at(self, build_id: str, *, ago: timedelta) -> None:
        """Let a build be older than it is."""
        for waiting in (self._unpublished, self._open):
            if build_id in waiting:
                waiting[build_id] = time.time() - ago.total_seconds()

    async def published(self, build_id: str) -> None:
        self._unpublished.pop(build_id, None)

    async def unpublished(self, age: timedelta) -> list[str]:
        return _since(self._unpublished, age)

    async def open(self, age: timedelta) -> list[str]:
        return _since(self._open, age)

    async def forget(self, build_id: str) -> None:
        self._unpublished.pop(build_id, None)
        self._open.pop(build_id, None)

    async def begin(self, build_id: str) -> int:
        self._attempts[build_id] += 1
        return self._attempts[build_id]

    async def reopen(self, build_id: str) -> None:
        self._results.pop(build_id, None)
        self._attempts.pop(build_id, None)
        self._open[build_id] = time.time()

    async def latest(self, target_image: str) -> Build | None:
        build_id = self._latest.get(target_image)
        return await self.get(build_id) if build_id else None

    async def get(self, build_id: str) -> Build | None:
        if (submission := self._submissions.get(build_id)) is None:
            return None
        return Build(id=build_id, submission=submission, result=self._results.get(build_id))

    async def finish(self, build_id: str, result: BuildResult) -> BuildResult:
        self._open.pop(build_id, None)
        return self._results.setdefault(build_id, result)


def _since(waiting: dict[str, float], age: timedelta) -> list[str]:
    before = time.time() - age.total_seconds()
    return [build_id for build_id, since in waiting.items() if since <= before][:100]
