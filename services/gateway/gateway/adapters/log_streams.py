"""The lines of running builds, each read once in this process for all who watch it.

One reader a build asks the stream LOGS for one message after the other; a plain subscription is its bell. There is no
consumer on the server, so nothing is left there by whoever dies, and a server that was away is asked again from the
last message on. Watchers are places in the list of what was read: a slow one holds nothing up and no memory but the
place, for what it has not seen yet is in a bounded cache or fetched again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import NamedTuple, Protocol

from cachetools import LRUCache
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from gateway.builds.event_encoding import Lines, Position
from swell.concurrency.notifier import LOOK_AGAIN, wait_at_most
from swell.concurrency.single_flight import SingleFlight
from swell.errors import BuildFailed, Unavailable
from swell.jobs.streams import Nats
from swell.log import log
from swell.store.logs import ATTEMPT, COMPLETE, FIRST_LINE, STREAM, log_subject
from swell.store.records import BuildResult

HEARTBEAT = 15.0  # seconds without a line
CACHE = 32 << 20  # bytes of lines of all builds
_TRY_AGAIN = 0.5
_STORING = 1.0  # seconds; how long a message that was heard may take to be in the stream
_AWAY = (NatsError, JetStreamError, TimeoutError)


class Ends(Protocol):
    async def result(self, build_id: str) -> BuildResult:
        """Wait until *build_id* has ended; raises `Unavailable` or `BuildFailed`."""


class _Piece(NamedTuple):
    """One message: its number in the stream, and which lines it has."""

    sequence: int
    attempt: int
    first: int
    last: int


class LogStreams:
    """Lets at most *most* watch, and *most_of_one* of them the same build."""

    def __init__(
        self, nats: Nats, ends: Ends, *, most: int = 10_000, most_of_one: int = 5_000, heartbeat: float = HEARTBEAT
    ) -> None:
        self._nats = nats
        self._ends = ends
        self._most = most
        self._most_of_one = most_of_one
        self._heartbeat = heartbeat
        self._feeds: dict[str, LogStream] = {}
        self._cache: LRUCache[int, Lines] = LRUCache(CACHE, getsizeof=lambda lines: len(lines.content) + 200)
        self._watchers = 0
        self._closed = False

    @asynccontextmanager
    async def open(self, build_id: str, after: Position) -> AsyncIterator["Watcher"]:
        feed = self._feeds.get(build_id)
        if self._closed:
            raise Unavailable("this server stops; ask again")
        if self._watchers >= self._most or (feed and feed.watchers >= self._most_of_one):
            raise Unavailable("too many watch already; the log is told without an event stream as well", retry_after=10)
        if feed is None:
            feed = self._feeds[build_id] = LogStream(build_id, self._nats, self._ends, self._cache, self._heartbeat)
        self._watchers += 1
        feed.watchers += 1
        try:
            yield Watcher(feed, after)
        finally:
            self._watchers -= 1
            feed.watchers -= 1
            if not feed.watchers and self._feeds.get(build_id) is feed:
                del self._feeds[build_id]
                feed.close()

    def close(self) -> None:
        """Send every watcher away; each goes on elsewhere with what it has."""
        self._closed = True
        for feed in self._feeds.values():
            feed.close()


class LogStream:
    """What one build has told so far, `pieces`, in order.

    When there is more, when there was nothing for *heartbeat* seconds, and when the feed is over, `news` is set and
    another event takes its place: one clock for all watchers. `is_whole` says whether the last piece ends the log.
    """

    def __init__(self, build_id: str, nats: Nats, ends: Ends, cache: LRUCache[int, Lines], heartbeat: float) -> None:
        self.watchers = 0
        self.pieces: list[_Piece] = []
        self.result: BuildResult | None = None
        self.is_whole = False
        self.is_over = False
        self.news = asyncio.Event()
        self._build_id = build_id
        self._subject = log_subject(build_id)
        self._nats = nats
        self._ends = ends
        self._cache = cache
        self._single_flight: SingleFlight[int, Lines | None] = SingleFlight()
        self._read = 0
        self._rung = asyncio.Event()
        self._heard = Position()
        self._heard_until = 0.0
        self._has_ended = False
        self._heartbeat = heartbeat
        self._told = monotonic()
        work = (self._read_all(), self._wait_for_end(), self._beat())
        self._tasks = [asyncio.create_task(each) for each in work]

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._finish()

    @property
    def last(self) -> Position:
        return Position(self.pieces[-1].attempt, self.pieces[-1].last) if self.pieces else Position()

    async def lines(self, piece: _Piece) -> Lines | None:
        """The lines of *piece*; None when the stream has forgotten them.

        Raises:
            Unavailable: the stream does not answer.
        """
        if known := self._cache.get(piece.sequence):
            return known
        return await self._single_flight.run(piece.sequence, lambda: self._fetch(piece))

    async def _fetch(self, piece: _Piece) -> Lines | None:
        try:
            message = await self._nats.stream.get_msg(STREAM, piece.sequence, direct=True)
        except NotFoundError:
            return None
        except _AWAY as error:
            raise Unavailable(f"the log cannot be read just now: {error}") from error
        lines = self._cache[piece.sequence] = Lines(piece.attempt, piece.first, message.data or b"")
        return lines

    async def _read_all(self) -> None:
        try:
            bell = await self._nats.client.subscribe(self._subject, cb=self._ring)
            try:
                while not self.is_over:
                    await self._read_next()
            finally:
                await bell.unsubscribe()
        except NatsError as error:
            log.warning("the log of a build cannot be followed", build_id=self._build_id, error=repr(error))
            self._finish()

    async def _ring(self, message: Msg) -> None:
        headers = message.headers or {}
        self._heard = Position(int(headers.get(ATTEMPT, 1)), int(headers.get(FIRST_LINE, 0)))
        self._heard_until = monotonic() + _STORING
        self._rung.set()

    async def _read_next(self) -> None:
        """Read a message, or wait until there may be one."""
        had_ended = self._has_ended
        self._rung.clear()
        try:
            message = await self._nats.stream.get_msg(STREAM, self._read + 1, self._subject, direct=True, next=True)
        except NotFoundError:
            await self._wait(had_ended)
        except _AWAY as error:
            log.warning("log lines not read for now", build_id=self._build_id, error=repr(error))
            if had_ended:
                self._finish()
            await asyncio.sleep(_TRY_AGAIN)
        else:
            self._take(message)

    def _take(self, message: RawStreamMsg) -> None:
        headers, content = message.headers or {}, message.data or b""
        self._read = message.seq or self._read + 1
        self.is_whole = COMPLETE in headers
        last = self.last
        attempt = int(headers.get(ATTEMPT, last.attempt or 1))
        first = int(headers.get(FIRST_LINE, last.line + 1))
        lines = Lines(attempt, first, content)
        if content and lines.last > last:
            self._cache[self._read] = lines
            self.pieces.append(_Piece(self._read, attempt, first, lines.last.line))
            self._tell()

    async def _wait(self, had_ended: bool) -> None:
        """Wait for the bell; a message that was heard may take a moment until it can be read."""
        if self._heard > self.last and monotonic() < self._heard_until:
            await asyncio.sleep(0.001)
        elif had_ended:
            self._finish()
        else:
            await wait_at_most(LOOK_AGAIN, self._rung)

    async def _wait_for_end(self) -> None:
        while not self._has_ended:
            try:
                self.result = await self._ends.result(self._build_id)
                self._has_ended = True
            except BuildFailed:  # nothing is known of it any more
                self._has_ended = True
            except Unavailable:
                await asyncio.sleep(_TRY_AGAIN)
        self._rung.set()

    async def _beat(self) -> None:
        while not self.is_over:
            await asyncio.sleep(max(self._told + self._heartbeat - monotonic(), 0.01))
            if monotonic() - self._told >= self._heartbeat:
                self._tell()

    def _finish(self) -> None:
        self.is_over = True
        self._tell()

    def _tell(self) -> None:
        self._told = monotonic()
        news, self.news = self.news, asyncio.Event()
        news.set()


class Watcher:
    """One who hears what *feed* tells behind *after*; None for a heartbeat."""

    def __init__(self, feed: LogStream, after: Position) -> None:
        self._feed = feed
        self._after = after
        self._next = 0

    @property
    def result(self) -> BuildResult | None:
        return self._feed.result

    @property
    def is_whole(self) -> bool:
        return self._feed.is_whole

    async def __aiter__(self) -> AsyncIterator[Lines | None]:
        while True:
            news = self._feed.news
            if self._next < len(self._feed.pieces):
                if lines := await self._lines(self._feed.pieces[self._next]):
                    yield lines
            elif self._feed.is_over:
                return
            else:
                await news.wait()
                if self._next == len(self._feed.pieces) and not self._feed.is_over:
                    yield None

    async def _lines(self, piece: _Piece) -> Lines | None:
        """The lines of *piece*, unless the watcher has them already or they cannot be had any more."""
        if Position(piece.attempt, piece.last) <= self._after:
            self._next += 1
            return None
        try:
            lines = await self._feed.lines(piece)
        except Unavailable:
            await asyncio.sleep(_TRY_AGAIN)
            return None
        self._next += 1
        return lines
