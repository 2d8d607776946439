"""Log streams of running builds: each build is read once per process, for all of its clients.

A client is a position in the list of the messages that a `LogReader` has read. A slow client delays no other one and
needs no memory: the lines that it has not read are in a cache of limited size, or are fetched again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from cachetools import LRUCache
from prometheus_client import Gauge

from gateway.adapters.builds.log_reader import RETRY_DELAY, BuildWaiter, LogReader, Piece, PieceOfBuild
from gateway.builds.event_encoding import Lines, Position
from swell.errors import Unavailable
from swell.jobs.streams import Nats
from swell.store.records import BuildResult

HEARTBEAT = 15.0  # seconds without a line
CACHE = 32 << 20  # bytes of lines of all builds
_STEP = 1000  # bytes of a step in memory, about
WATCHERS = Gauge("swell_watchers", "Clients that follow a log.")
WATCHED = Gauge("swell_watched_builds", "Builds whose log is followed.")
WATCHER_LIMIT = Gauge("swell_watchers_limit", "The most clients that may follow logs.")


class LogStreams:
    """The log streams of this process: at most *most* clients, and *most_of_one* of one build.

    It is a context manager: the readers run while it is open.
    """

    def __init__(
        self,
        nats: Nats,
        build_waiter: BuildWaiter,
        *,
        most: int = 10_000,
        most_of_one: int = 5_000,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self._nats = nats
        self._build_waiter = build_waiter
        self._most = most
        self._most_of_one = most_of_one
        self._heartbeat = heartbeat
        self._streams: dict[str, LogReader] = {}
        self._cache: LRUCache[PieceOfBuild, Lines] = LRUCache(
            CACHE, getsizeof=lambda lines: len(lines.content) + 200 + _STEP * len(lines.steps)
        )
        self._clients = 0
        WATCHER_LIMIT.set(most)
        self._closed = False
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await self._tasks.__aexit__(None, None, None)

    @asynccontextmanager
    async def open(self, build_id: str, after: Position) -> AsyncIterator["Subscription"]:
        """Subscribe to the lines of *build_id* after *after*.

        Raises:
            Unavailable: there are too many clients, or the server stops.
        """
        stream = self._streams.get(build_id)
        if self._closed:
            raise Unavailable("this server stops; ask again")
        if self._clients >= self._most or (stream and stream.clients >= self._most_of_one):
            raise Unavailable(
                "too many clients follow logs; the log can also be read without an event stream", retry_after=10
            )
        if stream is None:
            stream = LogReader(build_id, self._nats, self._build_waiter, self._cache, self._heartbeat)
            stream.task = self._tasks.create_task(stream.run())
            self._streams[build_id] = stream
        self._clients += 1
        stream.clients += 1
        self._publish_counts()
        try:
            yield Subscription(stream, after)
        finally:
            self._clients -= 1
            stream.clients -= 1
            if not stream.clients and self._streams.get(build_id) is stream:
                del self._streams[build_id]
                stream.close()
            self._publish_counts()

    def _publish_counts(self) -> None:
        WATCHERS.set(self._clients)
        WATCHED.set(len(self._streams))

    def close(self) -> None:
        """Close all subscriptions; a client can continue at its position on another gateway."""
        self._closed = True
        for stream in self._streams.values():
            stream.close()


class Subscription:
    """The lines of *stream* after *after*, for one client; None is a heartbeat."""

    def __init__(self, stream: LogReader, after: Position) -> None:
        self._stream = stream
        self._after = after
        self._next = 0

    @property
    def result(self) -> BuildResult | None:
        return self._stream.result

    @property
    def is_whole(self) -> bool:
        return self._stream.is_whole

    async def __aiter__(self) -> AsyncIterator[Lines | None]:
        while True:
            pieces = self._stream.pieces
            if self._next < len(pieces):
                lines = self._newest() if self._next == len(pieces) - 1 else None
                if lines := lines or await self._lines(pieces[self._next]):
                    yield lines
            elif self._stream.is_over:
                return
            else:
                beats = self._stream.beats
                await self._stream.changed.wait()
                if self._stream.beats > beats and self._next == len(pieces) and not self._stream.is_over:
                    yield None

    def _newest(self) -> Lines | None:
        """The lines of the last piece without waiting; None if the client has them already."""
        if self._stream.pieces[-1].last <= self._after:
            return None
        self._next += 1
        return self._stream.newest

    async def _lines(self, piece: Piece) -> Lines | None:
        """The lines of *piece*; None if the client has them already, or if they cannot be read."""
        if piece.last <= self._after:
            self._next += 1
            return None
        try:
            lines = await self._stream.lines(piece)
        except Unavailable:
            await asyncio.sleep(RETRY_DELAY)
            return None
        self._next += 1
        return lines
