"""What the page of a build shows: its record, its steps, the beginning of its log, and what it left behind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from cachetools import TTLCache
from markupsafe import Markup
from msgspec import Struct

from gateway.builds.queries import BuildQueries
from gateway.pages.explain import Explanation, explain
from gateway.pages.locks import Change, changes
from gateway.pages.log_lines import as_html
from gateway.pages.timeline import Bar, bars
from swell.api.builds import BuildRecord
from swell.errors import NotFound, Unavailable
from swell.store.attestations import Attestation
from swell.store.builds import Builds
from swell.store.logs import LoggedStep
from swell.store.records import Build, BuildResult, Reason

MOST_LOG = 24 << 10
"""Bytes of a log that are in the page itself; scripts and downloads have all of it."""
MOST_LOCK = 2 << 20
"""Bytes of a lock file that is compared with another one."""

MOST_CACHED, RUNNING_SECONDS, ENDED_SECONDS = 128, 1, 10
"""Pages of builds that many people open at the same time read their parts once; at most about 6 MiB."""
SETTLED = timedelta(seconds=15)
"""After this time, the log, the steps and usually the signatures of a build are stored."""


class Logs(Protocol):
    async def steps(self, build_id: str, attempt: int) -> tuple[LoggedStep, ...]:
        """The steps in the whole log of the last *attempt* of an ended build, if it has any."""

    async def lock(self, build_id: str) -> AsyncIterator[bytes] | None: ...

    async def attestations(self, build_id: str) -> frozenset[Attestation]:
        """The kinds of stored statements about a build."""


class Log(Struct, frozen=True):
    """The beginning of a log; `is_cut` says that it goes on."""

    html: Markup = Markup("")
    is_cut: bool = False


class Difference(Struct, frozen=True):
    """The build of the same inputs before this one, and what differs."""

    record: BuildRecord
    is_same_image: bool
    packages: tuple[Change, ...] = ()


class EndedParts(NamedTuple):
    """What is read from the object store about a build that has ended."""

    log: Log
    bars: tuple[Bar, ...]
    attestations: frozenset[Attestation]
    has_lock: bool
    difference: Difference | None


class BuildView(Struct, frozen=True, kw_only=True):
    """`state` is `queued`, `running`, `succeeded`, `failed` or `cancelled`."""

    record: BuildRecord
    state: str
    message: str = ""
    explanation: Explanation | None = None
    bars: tuple[Bar, ...] = ()
    log: Log = Log()
    has_lock: bool = False
    attestations: frozenset[Attestation] = frozenset()
    difference: Difference | None = None

    @property
    def is_over(self) -> bool:
        return self.state not in {"queued", "running"}


class BuildPages:
    def __init__(self, queries: BuildQueries, builds: Builds, logs: Logs) -> None:
        self._queries = queries
        self._builds = builds
        self._logs = logs
        self._running: TTLCache[str, Log] = TTLCache(MOST_CACHED, RUNNING_SECONDS)
        self._ended: TTLCache[str, EndedParts] = TTLCache(MOST_CACHED, ENDED_SECONDS)

    async def build(self, build_id: str, *, with_log: bool = True, with_others: bool = True) -> BuildView:
        """What the page of *build_id* shows, *with_others*: the build of the same inputs before; raises `NotFound`."""
        record = await self._queries.build_record(build_id)
        build = await self._builds.get(build_id)
        if build is None:
            raise NotFound(f"the record of {build_id} has expired")
        result = build.result
        if result is None:
            log = await self._running_log(build) if with_log else Log()
            return BuildView(record=record, state=state_of(build, record.queue_position), log=log)
        parts = await self._ended_parts(build, result, record if with_others else None)
        return BuildView(
            record=record,
            state=state_of(build, None),
            message=result.message,
            explanation=None if result.succeeded else explain(result.reason),
            bars=parts.bars,
            log=parts.log,
            has_lock=parts.has_lock,
            attestations=parts.attestations,
            difference=parts.difference,
        )

    async def _running_log(self, build: Build) -> Log:
        if (log := self._running.get(build.id)) is None:
            log = self._running[build.id] = await log_start(self._queries.log_of(build))
        return log

    async def _ended_parts(self, build: Build, result: BuildResult, record: BuildRecord | None) -> EndedParts:
        """What *build* has left; with the *record*, also the difference to the build before."""
        if (parts := self._ended.get(build.id)) is None:
            read = await asyncio.gather(
                log_start(self._queries.log_of(build)),
                self._steps(build.id, result),
                self._attestations(build.id),
                self._has_lock(build.id),
                self._difference(record) if record else _nothing(),
            )
            parts = EndedParts(*read)
            if datetime.now(UTC) - result.finished > SETTLED:
                self._ended[build.id] = parts
        return parts

    async def _steps(self, build_id: str, result: BuildResult) -> tuple[Bar, ...]:
        with suppress(Unavailable):
            logged = await self._logs.steps(build_id, result.attempt)
            return bars((each.step for each in logged), result.finished)
        return ()

    async def _attestations(self, build_id: str) -> frozenset[Attestation]:
        with suppress(Unavailable):
            return await self._logs.attestations(build_id)
        return frozenset()

    async def _has_lock(self, build_id: str) -> bool:
        with suppress(Unavailable):
            pieces = await self._logs.lock(build_id)
            return pieces is not None
        return False

    async def _difference(self, record: BuildRecord) -> Difference | None:
        """The build before *record*; None for the first one, and if it has no result."""
        container_id, _, number = record.build_id.removeprefix("bd-").rpartition("_")
        before = await self._queries.list_builds(container_id, number, 1) if container_id else None
        if before is None or not before.builds or before.builds[0].exit_status is None:
            return None
        former = before.builds[0]
        is_same = former.digest is not None and former.digest == record.digest
        packages: tuple[Change, ...] = ()
        if not is_same and former.digest and record.digest:
            old, new = await asyncio.gather(self._lock(former.build_id), self._lock(record.build_id))
            packages = changes(old, new) if old and new else ()
        return Difference(former, is_same, packages)

    async def _lock(self, build_id: str) -> str:
        """The lock file of a build; empty if it has none, or a very large one."""
        with suppress(Unavailable):
            pieces = await self._logs.lock(build_id)
            content, is_cut = await read_start(pieces, MOST_LOCK) if pieces is not None else (b"", False)
            return "" if is_cut else content.decode(errors="replace")
        return ""


async def _nothing() -> None:
    return None


def state_of(build: Build, position: int | None) -> str:
    """The state of *build* in one word; *position* is its place in the queue."""
    if build.result is None:
        return "running" if position is None else "queued"
    if build.result.succeeded:
        return "succeeded"
    return "cancelled" if build.result.reason is Reason.CANCELLED else "failed"


async def log_start(opening: Awaitable[AsyncIterator[bytes]]) -> Log:
    """The beginning of the log that *opening* reads, with colours; empty while it cannot be read."""
    try:
        content, is_cut = await read_start(await opening, MOST_LOG)
    except (Unavailable, NotFound):
        return Log()
    if is_cut:
        content = content.rpartition(b"\n")[0] or content
    return Log(as_html(content.decode(errors="replace").removesuffix("\n")), is_cut)


async def read_start(pieces: AsyncIterator[bytes], most: int) -> tuple[bytes, bool]:
    """The first *most* bytes of *pieces*, and whether there are more."""
    content = b""
    async with aclosing(pieces) as opened:  # type: ignore[type-var]  # all of them are generators
        async for piece in opened:
            content += piece
            if len(content) > most:
                return content[:most], True
    return content, False
