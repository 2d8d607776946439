"""Stream the log of a build as server-sent events: its lines and steps as they appear, then its result."""

import random
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gateway.builds.event_encoding import (
    HEARTBEAT,
    Lines,
    Position,
    encode,
    encode_end,
    encode_retry,
)
from swell.api.builds import BuildEnd, seconds
from swell.errors import NotFound, Unavailable
from swell.store.builds import Builds
from swell.store.logs import LoggedStep
from swell.store.records import NO_ATTEMPT, BuildResult

RETRY = (1.0, 5.0)  # seconds; random, so that the clients of a gateway that stops do not reconnect all at once


class Subscription(Protocol):
    """The log of a running build, as one client receives it."""

    def __aiter__(self) -> AsyncIterator[Lines | None]:
        """Lines in order, and None as a heartbeat when there are none; ends with the build."""

    @property
    def result(self) -> BuildResult | None:
        """The result of the build; None when it is unknown, or the subscription was closed before."""

    @property
    def is_whole(self) -> bool:
        """Whether the last line of the log was in the stream."""


class LogStreams(Protocol):
    def open(self, build_id: str, after: Position) -> AbstractAsyncContextManager[Subscription]:
        """Subscribe to the lines of *build_id* after *after*; raises `Unavailable` for too many subscriptions."""


class Logs(Protocol):
    async def complete(self, build_id: str) -> AsyncIterator[bytes] | None:
        """The whole log of an ended build, in pieces; None when it is not stored."""

    async def steps(self, build_id: str, attempt: int) -> tuple[LoggedStep, ...]:
        """The steps in the whole log of the last *attempt* of an ended build, if it has any."""


class LogEvents:
    def __init__(self, builds: Builds, log_streams: LogStreams, logs: Logs) -> None:
        self._builds = builds
        self._log_streams = log_streams
        self._logs = logs

    async def stream(self, build_id: str, after: Position) -> AsyncIterator[bytes] | None:
        """The events of *build_id* after *after*, in pieces of whole events; None after the last event.

        Raises:
            NotFound: the build is unknown.
            Unavailable: too many clients read log streams; raised by the first piece.
        """
        if after.is_end:
            return None
        build = await self._builds.get(build_id)
        if build is None:
            raise NotFound(f"no build {build_id}")
        return self._ended(build_id, build.result, after) if build.result else self._running(build_id, after)

    async def _running(self, build_id: str, after: Position) -> AsyncIterator[bytes]:
        async with self._log_streams.open(build_id, after) as subscription:
            yield _start()
            async for lines in subscription:
                if lines is None:
                    yield HEARTBEAT
                    continue
                events, after = encode(lines, after)
                if events:
                    yield events
            result, is_whole = subscription.result, subscription.is_whole
        if result is None:
            return
        if not is_whole and (pieces := await self._logs.complete(build_id)):
            async for events in self._stored(build_id, pieces, result, after):
                yield events
        yield _end(build_id, result)

    async def _ended(self, build_id: str, result: BuildResult, after: Position) -> AsyncIterator[bytes]:
        try:
            pieces = await self._logs.complete(build_id)
        except Unavailable:
            pieces = None
        if pieces is None and result.attempt != NO_ATTEMPT:  # it is stored later; the stream has its lines
            async for events in self._running(build_id, after):
                yield events
            return
        yield _start()
        if pieces is not None:
            async for events in self._stored(build_id, pieces, result, after):
                yield events
        yield _end(build_id, result)

    async def _stored(
        self, build_id: str, pieces: AsyncIterator[bytes], result: BuildResult, after: Position
    ) -> AsyncIterator[bytes]:
        """The events of the stored log *pieces* after *after*."""
        if after.attempt > result.attempt:
            return
        steps = deque(await self._logs.steps(build_id, result.attempt))
        first = 1
        async for content in _whole_lines(pieces):
            last = first - 1 + content.count(b"\n")
            lines = Lines(result.attempt, first, content, tuple(_until(last, steps)))
            first = last + 1
            if lines.last > after:
                events, after = encode(lines, after)
                yield events


def _until(line: int, steps: deque[LoggedStep]) -> Iterator[LoggedStep]:
    """Remove the *steps* before the line after *line*, and yield them."""
    while steps and steps[0].line <= line:
        yield steps.popleft()


async def _whole_lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """*pieces*, cut after line feeds; a missing line feed at the end is added."""
    rest = b""
    async for piece in pieces:
        whole, feed, tail = piece.rpartition(b"\n")
        if feed:
            yield rest + whole + feed
            rest = tail
        else:
            rest += tail
    if rest:
        yield rest + b"\n"


def _start() -> bytes:
    return encode_retry(random.uniform(*RETRY))  # noqa: S311  not a secret


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
    return encode_end(result.attempt, end)
