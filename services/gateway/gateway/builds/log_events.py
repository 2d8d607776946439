"""Watching a build: its lines as they come, then how it ended."""

import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gateway.builds.event_encoding import HEARTBEAT, Lines, Position, begun, encode, ended, missing
from swell.api.builds import BuildEnd, seconds
from swell.errors import NotFound
from swell.store.builds import Builds
from swell.store.records import BuildResult

RETRY = (1.0, 5.0)  # seconds; clients of a gateway that stops do not come again all at once


class Told(Protocol):
    """What one watcher hears of a running build."""

    def __aiter__(self) -> AsyncIterator[Lines | None]:
        """Lines in order, and None now and then when there are none; ends with the build."""

    @property
    def result(self) -> BuildResult | None:
        """How the build has ended; None when that is not known, or the watcher is sent away before."""

    @property
    def is_whole(self) -> bool:
        """Whether the last line of the log was among what was told."""


class LogStreams(Protocol):
    def open(self, build_id: str, after: Position) -> AbstractAsyncContextManager[Told]:
        """Hear what *build_id* tells behind *after*; raises `Unavailable` when too many do."""


class Logs(Protocol):
    async def complete(self, build_id: str) -> AsyncIterator[bytes] | None:
        """The whole log of an ended build, in pieces; None when none is kept."""


class LogEvents:
    def __init__(self, builds: Builds, feeds: LogStreams, logs: Logs) -> None:
        self._builds = builds
        self._feeds = feeds
        self._logs = logs

    async def watch(self, build_id: str, after: Position) -> AsyncIterator[bytes] | None:
        """The events of *build_id* behind *after*, each piece some whole ones; None when there are no more.

        Raises:
            NotFound: there is no such build.
            Unavailable: too many watch already; raised by the first piece.
        """
        if after.is_end:
            return None
        build = await self._builds.get(build_id)
        if build is None:
            raise NotFound(f"no build {build_id}")
        return self._ended(build_id, build.result, after) if build.result else self._running(build_id, after)

    async def _running(self, build_id: str, after: Position) -> AsyncIterator[bytes]:
        async with self._feeds.open(build_id, after) as told:
            yield _begun()
            async for lines in told:
                if lines is None:
                    yield HEARTBEAT
                    continue
                if events := _events(lines, after):
                    yield events
                after = max(after, lines.last)
            result, whole = told.result, told.is_whole
        if result is None:
            return
        if not whole:
            async for events in self._kept(build_id, result, after):
                yield events
        yield _end(build_id, result)

    async def _ended(self, build_id: str, result: BuildResult, after: Position) -> AsyncIterator[bytes]:
        yield _begun()
        async for events in self._kept(build_id, result, after):
            yield events
        yield _end(build_id, result)

    async def _kept(self, build_id: str, result: BuildResult, after: Position) -> AsyncIterator[bytes]:
        """The events of the log that is kept, as far as they come behind *after*."""
        if after.attempt > result.attempt or (pieces := await self._logs.complete(build_id)) is None:
            return
        first = 1
        async for content in _whole_lines(pieces):
            lines = Lines(result.attempt, first, content)
            first = lines.last.line + 1
            if lines.last > after:
                yield _events(lines, after)
                after = lines.last


async def _whole_lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """*pieces* cut behind line feeds; what has none at the end is given one."""
    rest = b""
    async for piece in pieces:
        whole, feed, left = piece.rpartition(b"\n")
        if feed:
            yield rest + whole + feed
            rest = left
        else:
            rest += left
    if rest:
        yield rest + b"\n"


def _events(lines: Lines, after: Position) -> bytes:
    return missing(after, lines) + encode(lines, after)


def _begun() -> bytes:
    return begun(random.uniform(*RETRY))  # noqa: S311  no secret


def _end(build_id: str, result: BuildResult) -> bytes:
    end = BuildEnd(
        id=build_id,
        succeeded=result.succeeded,
        exit_status=result.exit_status,
        duration=seconds(result.duration),
        digest=result.digest,
        reason=result.reason,
        message=result.message or None,
    )
    return ended(result.attempt, end)
