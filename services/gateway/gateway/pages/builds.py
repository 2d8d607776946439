"""What the page of a build shows: its record, its steps, the beginning of its log, and what it left behind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from cachetools import TTLCache
from markupsafe import Markup
from msgspec import Struct

from gateway.builds.queries import BuildQueries
from gateway.pages.differences import Difference, Differences, MayRead, read_start
from gateway.pages.explain import Explanation, explain
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


class EndedParts(NamedTuple):
    """What is read from the object store about a build that has ended."""

    log: Log
    bars: tuple[Bar, ...]
    attestations: frozenset[Attestation]
    has_lock: bool


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
    def __init__(self, queries: BuildQueries, builds: Builds, logs: Logs, differences: Differences) -> None:
        self._queries = queries
        self._builds = builds
        self._logs = logs
        self._differences = differences
        self._running: TTLCache[str, Log] = TTLCache(MOST_CACHED, RUNNING_SECONDS)
        self._ended: TTLCache[str, EndedParts] = TTLCache(MOST_CACHED, ENDED_SECONDS)

    async def build(self, build_id: str, may_read: MayRead, *, with_log: bool = True) -> BuildView:
        """What the page of *build_id* shows a viewer who *may_read* other builds; raises `NotFound`."""
        build, record = await self._queries.build_and_record(build_id)
        result = build.result
        if result is None:
            log = await self._running_log(build) if with_log else Log()
            return BuildView(record=record, state=state_of(build, record.queue_position), log=log)
        parts = await self._ended_parts(build, result)
        return BuildView(
            record=record,
            state=state_of(build, None),
            message=result.message,
            explanation=None if result.succeeded else explain(result.reason),
            bars=parts.bars,
            log=parts.log,
            has_lock=parts.has_lock,
            attestations=parts.attestations,
            difference=await self._differences.of(build, may_read),
        )

    async def _running_log(self, build: Build) -> Log:
        if (log := self._running.get(build.id)) is None:
            log = self._running[build.id] = await log_start(self._queries.log_of(build))
        return log

    async def _ended_parts(self, build: Build, result: BuildResult) -> EndedParts:
        """What *build* has left."""
        if (parts := self._ended.get(build.id)) is None:
            read = await asyncio.gather(
                log_start(self._queries.log_of(build)),
                self._steps(build.id, result),
                self._attestations(build.id),
                self._has_lock(build.id),
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
