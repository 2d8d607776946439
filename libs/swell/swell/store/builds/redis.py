"""Builds in Redis; see the Protocols of this package for the methods."""

import time
from datetime import timedelta

import msgspec
from redis.asyncio import Redis

from swell.store import keys
from swell.store.builds import scripts
from swell.store.builds.interest import CancelOutcome, CancelState
from swell.store.builds.queue import child_ids, has_other_inputs, inputs_of, is_being_cancelled, queue_is_full
from swell.store.builds.records import build_ids
from swell.store.connections.redis import text, translated
from swell.store.records import Build, BuildResult, Listing, Signing, Submission

Arguments = list[str | bytes | int | float]

LIFE = timedelta(days=90)
QUEUE_LIMIT = 100


class _RedisQueue:
    """See `BuildQueue`."""

    def __init__(self, redis: Redis, life: int, queue_limit: int) -> None:
        self._redis = redis
        self._life = life
        self._queue_limit = queue_limit
        self._submit = redis.register_script(scripts.SUBMIT)
        self._release = redis.register_script(scripts.RELEASE)
        self._position = redis.register_script(scripts.POSITION)

    async def submit(self, submission: Submission, *, instead_of: str | None = None) -> tuple[str, bool]:
        arguments: Arguments = [
            submission.container_id,
            msgspec.json.encode(submission),
            self._life,
            instead_of or "",
            submission.client,
            self._queue_limit,
            inputs_of(submission),
            submission.series,
            *child_ids(submission),
        ]
        with translated():
            build_id, status = await self._submit([keys.latest_build(submission.target_image)], arguments)
        if status == scripts.QUEUE_FULL:
            raise queue_is_full(self._queue_limit)
        if status == scripts.OTHER_INPUTS:
            raise has_other_inputs(submission)
        if status == scripts.CHILD_CANCELLED:
            raise is_being_cancelled(text(build_id))
        return text(build_id), bool(status)

    async def release(self, client: str, limit: int) -> list[str]:
        with translated():
            return [text(build_id) for build_id in await self._release([], [client, limit, time.time()])]

    async def waiting(self) -> list[str]:
        with translated():
            freed = await self._redis.spop(keys.QUEUE_FREED, 100)
            queued = await self._redis.srandmember(keys.QUEUE_CLIENTS, 100)
        return list({text(client) for clients in (freed, queued) for client in clients or ()})

    async def published(self, build_id: str) -> None:
        with translated():
            await self._redis.zrem(keys.UNPUBLISHED, build_id)

    async def unpublish_all(self) -> None:
        with translated():
            await self._redis.zunionstore(keys.UNPUBLISHED, [keys.UNPUBLISHED, keys.UNFINISHED], aggregate="MIN")

    async def unpublished(self, age: timedelta) -> list[str]:
        return await self._older_than(keys.UNPUBLISHED, age)

    async def unfinished(self, age: timedelta) -> list[str]:
        return await self._older_than(keys.UNFINISHED, age)

    async def _older_than(self, key: str, age: timedelta) -> list[str]:
        until = time.time() - age.total_seconds()
        with translated():
            stored = await self._redis.zrangebyscore(key, "-inf", until, start=0, num=100)
        return [text(build_id) for build_id in stored]

    async def forget(self, build_id: str) -> None:
        with translated():
            await self._redis.zrem(keys.UNPUBLISHED, build_id)
            await self._redis.zrem(keys.UNFINISHED, build_id)

    async def position(self, build_id: str) -> int | None:
        with translated():
            return int(await self._position([], [build_id])) or None


class _RedisRecords:
    """See `BuildRecords`."""

    def __init__(self, redis: Redis, life: int) -> None:
        self._redis = redis
        self._life = life
        self._begin = redis.register_script(scripts.BEGIN)
        self._finish = redis.register_script(scripts.FINISH)

    async def latest(self, target_image: str) -> Build | None:
        with translated():
            build_id = await self._redis.get(keys.latest_build(target_image))
        return await self.get(text(build_id)) if build_id else None

    async def get(self, build_id: str) -> Build | None:
        builds = await self._read([build_id])
        return builds[0] if builds else None

    async def before(self, build_id: str) -> Build | None:
        with translated():
            before = await self._redis.get(keys.build(build_id, keys.BEFORE))
        return await self.get(text(before)) if before else None

    async def inputs(self, container_id: str) -> str:
        with translated():
            return text(await self._redis.hget(*keys.build_inputs(container_id)) or "")

    async def page(self, container_id: str, *, before: int | None, limit: int) -> list[Build]:
        with translated():
            newest = int(await self._redis.hget(keys.COUNTERS, container_id) or 0)
        return await self._read(build_ids(container_id, newest, before, limit))

    async def _read(self, ids: list[str]) -> list[Build]:
        parts = (keys.SUBMISSION, keys.RESULT, keys.CANCELLED)
        if not ids:
            return []
        with translated():
            values = await self._redis.mget([keys.build(build_id, part) for build_id in ids for part in parts])
        return [
            Build(
                id=build_id,
                submission=msgspec.json.decode(submission, type=Submission),
                result=msgspec.json.decode(result, type=BuildResult) if result else None,
                is_cancelled=cancelled is not None,
            )
            for build_id, submission, result, cancelled in zip(
                ids, values[::3], values[1::3], values[2::3], strict=True
            )
            if submission is not None
        ]

    async def begin(self, build_id: str) -> int:
        with translated():
            return int(await self._begin([], [build_id, self._life]))

    async def finish(self, build_id: str, result: BuildResult) -> BuildResult:
        with translated():
            stored = await self._finish([], [build_id, msgspec.json.encode(result), self._life])
        return msgspec.json.decode(stored, type=BuildResult) if stored else result

    async def put_signing(self, build_id: str, signing: Signing) -> None:
        with translated():
            await self._redis.set(keys.build(build_id, keys.SIGNING), msgspec.json.encode(signing), ex=self._life)

    async def signing(self, build_id: str) -> Signing | None:
        with translated():
            stored = await self._redis.get(keys.build(build_id, keys.SIGNING))
        return msgspec.json.decode(stored, type=Signing) if stored else None

    async def put_listing(self, build_id: str, listing: Listing | None) -> None:
        key = keys.build(build_id, keys.LISTING)
        with translated():
            if listing is None:
                await self._redis.delete(key)
            else:
                await self._redis.set(key, msgspec.json.encode(listing), ex=self._life)

    async def listing(self, build_id: str) -> Listing | None:
        with translated():
            stored = await self._redis.get(keys.build(build_id, keys.LISTING))
        return msgspec.json.decode(stored, type=Listing) if stored else None

    async def reopen(self, build_id: str) -> None:
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.delete(keys.build(build_id, keys.RESULT), keys.build(build_id, keys.ATTEMPTS))
                pipe.zadd(keys.UNFINISHED, {build_id: time.time()})
                await pipe.execute()


class _RedisInterest:
    """See `BuildInterest`."""

    def __init__(self, redis: Redis, life: int) -> None:
        self._life = life
        self._add_interest = redis.register_script(scripts.ADD_INTEREST)
        self._cancel = redis.register_script(scripts.CANCEL)

    async def add_interest(self, build_id: str, request_id: str, user: str) -> bool:
        with translated():
            return bool(await self._add_interest([], [build_id, request_id, user, self._life]))

    async def cancel(
        self, build_id: str, result: BuildResult, *, request_id: str, user: str, all_requests: bool
    ) -> CancelOutcome:
        record = msgspec.json.encode(result)
        arguments: Arguments = [build_id, request_id, user, int(all_requests), record, self._life]
        with translated():
            state, others, *children = await self._cancel([], arguments)
        ids, states = map(text, children[::2]), (CancelState(text(child)) for child in children[1::2])
        return CancelOutcome(CancelState(text(state)), int(others), tuple(zip(ids, states, strict=True)))


class RedisBuilds(_RedisQueue, _RedisRecords, _RedisInterest):
    """Builds in Redis: records expire *life* after their submission; a client's queue has *queue_limit* builds."""

    def __init__(self, redis: Redis, life: timedelta = LIFE, queue_limit: int = QUEUE_LIMIT) -> None:
        seconds = int(life.total_seconds())
        _RedisQueue.__init__(self, redis, seconds, queue_limit)
        _RedisRecords.__init__(self, redis, seconds)
        _RedisInterest.__init__(self, redis, seconds)
