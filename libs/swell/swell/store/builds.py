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
return {id, 1}
"""
_COUNTERS = "swell:build-counters"
_UNPUBLISHED = "swell:builds:unpublished"


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
        keys = [_index(submission.target_image), _COUNTERS, _UNPUBLISHED]
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
        with translated():
            found = await self._redis.zrangebyscore(
                _UNPUBLISHED, "-inf", time.time() - age.total_seconds(), start=0, num=100
            )
        return [text(build_id) for build_id in found]

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
            first = await self._redis.set(_result(build_id), msgspec.json.encode(result), nx=True, ex=self._life)
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


class MemoryBuilds:
    """The twin of RedisBuilds for unit tests."""

    def __init__(self) -> None:
        self._submissions: dict[str, Submission] = {}
        self._results: dict[str, BuildResult] = {}
        self._latest: dict[str, str] = {}
        self._counters: Counter[str] = Counter()
        self._unpublished: dict[str, float] = {}

    async def submit(self, submission: Submission, *, instead_of: str | None = None) -> tuple[str, bool]:
        current = self._latest.get(submission.target_image)
        if current and current != instead_of:
            return current, False
        self._counters[submission.container_id] += 1
        build_id = f"bd-{submission.container_id}_{self._counters[submission.container_id]}"
        self._submissions[build_id] = submission
        self._latest[submission.target_image] = build_id
        self._unpublished[build_id] = time.time()
        return build_id, True

    def submitted_at(self, build_id: str, *, ago: timedelta) -> None:
        """Let an unpublished build be older than it is."""
        self._unpublished[build_id] = time.time() - ago.total_seconds()

    async def published(self, build_id: str) -> None:
        self._unpublished.pop(build_id, None)

    async def unpublished(self, age: timedelta) -> list[str]:
        before = time.time() - age.total_seconds()
        return [build_id for build_id, since in self._unpublished.items() if since <= before][:100]

    async def latest(self, target_image: str) -> Build | None:
        build_id = self._latest.get(target_image)
        return await self.get(build_id) if build_id else None

    async def get(self, build_id: str) -> Build | None:
        if (submission := self._submissions.get(build_id)) is None:
            return None
        return Build(id=build_id, submission=submission, result=self._results.get(build_id))

    async def finish(self, build_id: str, result: BuildResult) -> BuildResult:
        return self._results.setdefault(build_id, result)
