"""The builds: one at a time for each target image, numbered, each in the line of its client, and none forgotten."""

import time
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec
from redis.asyncio import Redis

from swell.errors import TooManyRequests, Unavailable
from swell.store import scripts
from swell.store.records import Build, BuildResult, Submission
from swell.store.redis import text, translated

_UNPUBLISHED = "swell:builds:unpublished"
_OPEN = "swell:builds:open"


class CancelState(StrEnum):
    """What became of a wish to cancel a build."""

    UNKNOWN = "unknown"
    """There is no such build."""
    ENDED = "ended"
    """It has ended before."""
    REFUSED = "refused"
    """Whoever wished it had no part in the build."""
    LEFT = "left"
    """Others want it still."""
    ENDING = "ending"
    """A builder has begun it, and is to end it."""
    TAKEN_OUT = "taken-out"
    """No builder had begun it: it has ended now."""


class CancelOutcome(NamedTuple):
    """*others* is how many requests, and builds of several platforms, want the build still. The *children* are those
    builds that nobody wants either now: each is `ENDING` or `TAKEN_OUT`."""

    left: CancelState
    others: int = 0
    children: tuple[tuple[str, CancelState], ...] = ()


class Builds(Protocol):
    """What is known of builds. The gateway submits, releases and marks published; the builder begins and finishes."""

    async def submit(self, submission: Submission, *, instead_of: str | None = None) -> tuple[str, bool]:
        """Register a build unless its target image has one already; answers the build id, and whether it is new.

        *instead_of* names a build, ended or cancelled, that the new one may replace. A new one waits in its client's
        line. It wants the builds of its children for as long as it is wanted itself.

        Raises:
            TooManyRequests: the line is full.
            Unavailable: a child is being cancelled.
        """

    async def release(self, client: str, share: int) -> list[str]:
        """The builds, first come first, that *client* may have under way now, at most *share* of them with those that
        are; they count as unpublished."""

    async def waiting(self) -> list[str]:
        """Some clients for whom builds may be released: those whose builds have ended since this was asked, and others
        who have builds waiting; at most a hundred of each."""

    async def published(self, build_id: str) -> None:
        """The job of *build_id* is in the queue."""

    async def unpublished(self, age: timedelta) -> list[str]:
        """The ids, at most a hundred, of builds that were released more than *age* ago and are not in the queue."""

    async def forget(self, build_id: str) -> None:
        """Nobody need look for *build_id* any more: it has ended, or its record has."""

    async def open(self, age: timedelta) -> list[str]:
        """The ids, at most a hundred, the oldest first, of builds released more than *age* ago that have not ended."""

    async def latest(self, target_image: str) -> Build | None:
        """The newest build of *target_image*."""

    async def get(self, build_id: str) -> Build | None: ...

    async def of(self, container_id: str, *, before: int | None, most: int) -> list[Build]:
        """The builds of *container_id* with the *most* numbers below *before*, newest first; who has expired is not
        among them."""

    async def position(self, build_id: str) -> int | None:
        """1 for the build that begins next; None for one that does not wait."""

    async def begin(self, build_id: str) -> int:
        """Somebody begins to build *build_id*; answers which attempt that is, from 1. From now on, cancelling it is a
        wish to whoever has begun."""

    async def reopen(self, build_id: str) -> None:
        """Forget how *build_id* ended, and its attempts: it is to be built after all."""

    async def add_interest(self, build_id: str, request_id: str, user: str) -> bool:
        """A request, of *user* or an anonymous one, wants *build_id*; answers False when that is cancelled already."""

    async def cancel(
        self, build_id: str, result: BuildResult, *, request_id: str, user: str, everybody: bool
    ) -> CancelOutcome:
        """One request, all of *user*'s or everybody's want *build_id* no longer.

        When nobody does it is cancelled, and when no builder has begun it, it has ended with *result*. The same goes
        for those of its children that nothing else wants.
        """

    async def finish(self, build_id: str, result: BuildResult) -> BuildResult:
        """Record how *build_id* ended, unless that is known already; answers what is now known."""


class RedisBuilds:
    """Builds in Redis; a record lives *life* after its submission, and at most *room* builds wait in one line."""

    def __init__(self, redis: Redis, life: timedelta = timedelta(days=90), room: int = 100) -> None:
        self._redis = redis
        self._life = int(life.total_seconds())
        self._room = room
        self._submit = redis.register_script(scripts.SUBMIT)
        self._release = redis.register_script(scripts.RELEASE)
        self._position = redis.register_script(scripts.POSITION)
        self._begin = redis.register_script(scripts.BEGIN)
        self._want = redis.register_script(scripts.WANT)
        self._cancel = redis.register_script(scripts.CANCEL)
        self._finish = redis.register_script(scripts.FINISH)

    async def submit(self, submission: Submission, *, instead_of: str | None = None) -> tuple[str, bool]:
        record = msgspec.json.encode(submission)
        told: list[str | bytes | int | float] = [
            submission.container_id,
            record,
            self._life,
            instead_of or "",
            submission.client,
            self._room,
            *child_ids(submission),
        ]
        with translated():
            build_id, new = await self._submit([_index(submission.target_image)], told)
        if new == scripts.FULL:
            raise line_is_full(self._room)
        if new == scripts.UNWANTED:
            raise is_being_cancelled(text(build_id))
        return text(build_id), bool(new)

    async def release(self, client: str, share: int) -> list[str]:
        with translated():
            return [text(each) for each in await self._release([], [client, share, time.time()])]

    async def waiting(self) -> list[str]:
        with translated():
            freed = await self._redis.spop("swell:queue:freed", 100)
            some = await self._redis.srandmember("swell:queue:clients", 100)
        return list({text(each) for found in (freed, some) for each in found or ()})

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
            await self._redis.zrem(_UNPUBLISHED, build_id)
            await self._redis.zrem(_OPEN, build_id)

    async def latest(self, target_image: str) -> Build | None:
        with translated():
            build_id = await self._redis.get(_index(target_image))
        return await self.get(text(build_id)) if build_id else None

    async def get(self, build_id: str) -> Build | None:
        found = await self._get([build_id])
        return found[0] if found else None

    async def of(self, container_id: str, *, before: int | None, most: int) -> list[Build]:
        with translated():
            newest = int(await self._redis.hget("swell:build-counters", container_id) or 0)
        return await self._get(ids_of(container_id, newest, before, most))

    async def _get(self, build_ids: list[str]) -> list[Build]:
        keys = [_key(each, part) for each in build_ids for part in ("submission", "result", "cancelled")]
        if not keys:
            return []
        with translated():
            found = await self._redis.mget(keys)
        return [
            Build(
                id=build_id,
                submission=msgspec.json.decode(submission, type=Submission),
                result=msgspec.json.decode(result, type=BuildResult) if result else None,
                is_cancelled=cancelled is not None,
            )
            for build_id, submission, result, cancelled in zip(
                build_ids, found[::3], found[1::3], found[2::3], strict=True
            )
            if submission is not None
        ]

    async def position(self, build_id: str) -> int | None:
        with translated():
            return int(await self._position([], [build_id])) or None

    async def begin(self, build_id: str) -> int:
        with translated():
            return int(await self._begin([], [build_id, self._life]))

    async def reopen(self, build_id: str) -> None:
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.delete(_key(build_id, "result"), _key(build_id, "attempts"))
                pipe.zadd(_OPEN, {build_id: time.time()})
                await pipe.execute()

    async def add_interest(self, build_id: str, request_id: str, user: str) -> bool:
        with translated():
            return bool(await self._want([], [build_id, request_id, user, self._life]))

    async def cancel(
        self, build_id: str, result: BuildResult, *, request_id: str, user: str, everybody: bool
    ) -> CancelOutcome:
        told: list[str | bytes | int | float] = [
            build_id,
            request_id,
            user,
            int(everybody),
            msgspec.json.encode(result),
            self._life,
        ]
        with translated():
            left, others, *children = await self._cancel([], told)
        ids, ends = map(text, children[::2]), (CancelState(text(each)) for each in children[1::2])
        return CancelOutcome(CancelState(text(left)), int(others), tuple(zip(ids, ends, strict=True)))

    async def finish(self, build_id: str, result: BuildResult) -> BuildResult:
        with translated():
            known = await self._finish([], [build_id, msgspec.json.encode(result), self._life])
        return msgspec.json.decode(known, type=BuildResult) if known else result


def line_is_full(room: int) -> TooManyRequests:
    return TooManyRequests(f"{room} builds of yours wait already; let some begin, or cancel them", retry_after=30)


def is_being_cancelled(build_id: str) -> Unavailable:
    return Unavailable(f"the build {build_id} is being cancelled in this moment; ask again")


def child_ids(submission: Submission) -> list[str]:
    """The builds that *submission* waits for; those of its children that are there already have none."""
    return [child.build_id for child in submission.children if child.build_id]


def ids_of(container_id: str, newest: int, before: int | None, most: int) -> list[str]:
    """The ids with the *most* numbers up to *newest* and below *before*, newest first."""
    first = newest if before is None else min(newest, before - 1)
    return [f"bd-{container_id}_{number}" for number in range(first, max(first - most, 0), -1)]


def _index(target_image: str) -> str:
    return f"swell:build-of:{target_image}"


def _key(build_id: str, part: str) -> str:
    return f"swell:build:{build_id}:{part}"
