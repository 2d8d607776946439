"""The builds: one at a time for each target image, numbered, each in the line of its client, and none forgotten."""

import time
from collections import Counter, defaultdict
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec
from msgspec import structs
from redis.asyncio import Redis

from swell.errors import TooManyRequests
from swell.store import scripts
from swell.store.records import Build, BuildResult, Submission
from swell.store.redis import text, translated

_UNPUBLISHED = "swell:builds:unpublished"
_OPEN = "swell:builds:open"


class Left(StrEnum):
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


class Leaving(NamedTuple):
    """*others* is how many requests want the build still."""

    left: Left
    others: int = 0


class Builds(Protocol):
    """What is known of builds. The gateway submits, releases and marks published; the builder begins and finishes."""

    async def submit(self, submission: Submission, *, instead_of: str | None = None) -> tuple[str, bool]:
        """Register a build unless its target image has one already; answers the build id, and whether it is new.

        *instead_of* names a build, ended or cancelled, that the new one may replace. A new one waits in its client's
        line.

        Raises:
            TooManyRequests: the line is full.
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

    async def want(self, build_id: str, request_id: str, user: str) -> bool:
        """A request, of *user* or an anonymous one, wants *build_id*; answers False when that is cancelled already."""

    async def cancel(
        self, build_id: str, result: BuildResult, *, request_id: str, user: str, everybody: bool
    ) -> Leaving:
        """One request, all of *user*'s or everybody's want *build_id* no longer.

        When nobody does it is cancelled, and when no builder has begun it, it has ended with *result*.
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
        ]
        with translated():
            build_id, new = await self._submit([_index(submission.target_image)], told)
        if new < 0:
            raise line_is_full(self._room)
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

    async def want(self, build_id: str, request_id: str, user: str) -> bool:
        with translated():
            return bool(await self._want([], [build_id, request_id, user, self._life]))

    async def cancel(
        self, build_id: str, result: BuildResult, *, request_id: str, user: str, everybody: bool
    ) -> Leaving:
        told: list[str | bytes | int | float] = [
            build_id,
            request_id,
            user,
            int(everybody),
            msgspec.json.encode(result),
            self._life,
        ]
        with translated():
            left, others = await self._cancel([], told)
        return Leaving(Left(text(left)), int(others))

    async def finish(self, build_id: str, result: BuildResult) -> BuildResult:
        with translated():
            known = await self._finish([], [build_id, msgspec.json.encode(result), self._life])
        return msgspec.json.decode(known, type=BuildResult) if known else result


def line_is_full(room: int) -> TooManyRequests:
    return TooManyRequests(f"{room} builds of yours wait already; let some begin, or cancel them", retry_after=30)


def ids_of(container_id: str, newest: int, before: int | None, most: int) -> list[str]:
    """The ids with the *most* numbers up to *newest* and below *before*, newest first."""
    first = newest if before is None else min(newest, before - 1)
    return [f"bd-{container_id}_{number}" for number in range(first, max(first - most, 0), -1)]


def _index(target_image: str) -> str:
    return f"swell:build-of:{target_image}"


def _key(build_id: str, part: str) -> str:
    return f"swell:build:{build_id}:{part}"


class MemoryBuilds:
    """The twin of RedisBuilds for unit tests."""

    def __init__(self, room: int = 100) -> None:
        self._room = room
        self._builds: dict[str, Build] = {}
        self._latest: dict[str, str] = {}
        self._counters: Counter[str] = Counter()
        self._lines: defaultdict[str, list[str]] = defaultdict(list)
        self._running: defaultdict[str, list[str]] = defaultdict(list)
        self._ready: list[str] = []
        self._attempts: Counter[str] = Counter()
        self._unpublished: dict[str, float] = {}
        self._open: dict[str, float] = {}
        self._wanted: defaultdict[str, dict[str, tuple[str, bool]]] = defaultdict(dict)

    async def submit(self, submission: Submission, *, instead_of: str | None = None) -> tuple[str, bool]:
        current = self._latest.get(submission.target_image)
        if current and current != instead_of:
            return current, False
        if len(self._lines[submission.client]) >= self._room:
            raise line_is_full(self._room)
        self._counters[submission.container_id] += 1
        build_id = f"bd-{submission.container_id}_{self._counters[submission.container_id]}"
        self._builds[build_id] = Build(id=build_id, submission=submission)
        self._latest[submission.target_image] = build_id
        self._lines[submission.client].append(build_id)
        return build_id, True

    async def release(self, client: str, share: int) -> list[str]:
        free = max(share - len(self._running[client]), 0)
        released, self._lines[client] = self._lines[client][:free], self._lines[client][free:]
        self._running[client] += released
        self._ready += released
        self._unpublished |= dict.fromkeys(released, time.time())
        self._open |= dict.fromkeys(released, time.time())
        return released

    async def waiting(self) -> list[str]:
        return [client for client, line in self._lines.items() if line]

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

    async def latest(self, target_image: str) -> Build | None:
        build_id = self._latest.get(target_image)
        return await self.get(build_id) if build_id else None

    async def get(self, build_id: str) -> Build | None:
        return self._builds.get(build_id)

    async def of(self, container_id: str, *, before: int | None, most: int) -> list[Build]:
        ids = ids_of(container_id, self._counters[container_id], before, most)
        return [self._builds[each] for each in ids if each in self._builds]

    async def position(self, build_id: str) -> int | None:
        if build_id in self._ready:
            return self._ready.index(build_id) + 1
        build = self._builds.get(build_id)
        line = self._lines[build.submission.client] if build else []
        return len(self._ready) + line.index(build_id) + 1 if build_id in line else None

    async def begin(self, build_id: str) -> int:
        self._ready = [each for each in self._ready if each != build_id]
        self._attempts[build_id] += 1
        return self._attempts[build_id]

    async def reopen(self, build_id: str) -> None:
        self._builds[build_id] = structs.replace(self._builds[build_id], result=None)
        self._attempts.pop(build_id, None)
        self._open[build_id] = time.time()

    async def want(self, build_id: str, request_id: str, user: str) -> bool:
        build = self._builds.get(build_id)
        if build and build.is_cancelled:
            return False
        if build is None or build.result is None:
            self._wanted[build_id][request_id] = user, True
        return True

    async def cancel(
        self, build_id: str, result: BuildResult, *, request_id: str, user: str, everybody: bool
    ) -> Leaving:
        if (build := self._builds.get(build_id)) is None:
            return Leaving(Left.UNKNOWN)
        if build.result:
            return Leaving(Left.ENDED)
        wanted = self._wanted[build_id]
        mine = [each for each, (who, _) in wanted.items() if everybody or each == request_id or (user and who == user)]
        wanted |= {each: (wanted[each][0], False) for each in mine}
        others = sum(wants for _, wants in wanted.values())
        if not mine and not everybody:
            return Leaving(Left.REFUSED, others)
        if others:
            return Leaving(Left.LEFT, others)
        self._builds[build_id] = structs.replace(build, is_cancelled=True)
        if build_id in self._attempts:
            return Leaving(Left.ENDING)
        await self.finish(build_id, result)
        await self.forget(build_id)
        return Leaving(Left.TAKEN_OUT)

    async def finish(self, build_id: str, result: BuildResult) -> BuildResult:
        if (build := self._builds.get(build_id)) is None:
            return result
        for line in (self._lines, self._running):
            line[build.submission.client] = [each for each in line[build.submission.client] if each != build_id]
        self._ready = [each for each in self._ready if each != build_id]
        self._wanted.pop(build_id, None)
        self._open.pop(build_id, None)
        if build.result is None:
            self._builds[build_id] = structs.replace(build, result=result)
        return self._builds[build_id].result or result


def _since(waiting: dict[str, float], age: timedelta) -> list[str]:
    before = time.time() - age.total_seconds()
    return [build_id for build_id, since in waiting.items() if since <= before][:100]
