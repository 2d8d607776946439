"""The log of one running build, read once for all of its clients.

A reader fetches message after message from the JetStream stream LOGS; a plain NATS subscription wakes it. There is no
consumer on the server, so a process that crashes leaves nothing behind, and after an outage the reader continues after
its last message.
"""

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import NamedTuple, Protocol

from cachetools import LRUCache
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from gateway.builds.event_encoding import Lines, Position
from swell.concurrency.notifier import POLL_SECONDS, wait_at_most
from swell.concurrency.single_flight import SingleFlight
from swell.concurrency.waiters import Waiters
from swell.errors import BuildFailed, Unavailable
from swell.jobs.streams import Nats
from swell.log import log, warn_once_a_second
from swell.store.logs import ATTEMPT, COMPLETE, FIRST_LINE, STEPS, STREAM, decode_header, log_subject
from swell.store.records import BuildResult

RETRY_DELAY = 0.5  # seconds
_STORE_DELAY = 1.0  # seconds after its notification in which a message may still be missing in the stream
_UNAVAILABLE = (NatsError, JetStreamError, TimeoutError)


class BuildWaiter(Protocol):
    async def result(self, build_id: str) -> BuildResult:
        """Wait until *build_id* has ended; raises `Unavailable` or `BuildFailed`."""


class Piece(NamedTuple):
    """One message: its sequence number in the stream, its first line, and the position at its end."""

    sequence: int
    first: int
    last: Position


class PieceOfBuild(NamedTuple):
    """The key of cached lines. It has no sequence number: a stream that was lost and created again repeats them."""

    build_id: str
    last: Position


class LogReader:
    """The log of one running build: `pieces` are the messages up to now, in order.

    `changed` wakes the clients that wait when there is another piece, when there was none for *heartbeat*
    seconds, and when the stream is over. `is_whole` is true if the last piece is the end of the log. `newest` are the
    lines of the last piece, which most clients read next. `beats` counts the pauses of *heartbeat* seconds.
    """

    def __init__(
        self,
        build_id: str,
        nats: Nats,
        build_waiter: BuildWaiter,
        cache: LRUCache[PieceOfBuild, Lines],
        heartbeat: float,
    ) -> None:
        self.clients = 0
        self.task: asyncio.Task[None] | None = None
        self.pieces: list[Piece] = []
        self.result: BuildResult | None = None
        self.is_whole = False
        self.is_over = False
        self.newest: Lines | None = None
        self.beats = 0
        self.changed = Waiters()
        self._build_id = build_id
        self._subject = log_subject(build_id)
        self._nats = nats
        self._build_waiter = build_waiter
        self._cache = cache
        self._single_flight: SingleFlight[int, Lines | None] = SingleFlight()
        self._last_sequence = 0
        self._notified = asyncio.Event()
        self._notified_of = Position()
        self._expected_until = 0.0
        self._has_ended = False
        self._heartbeat = heartbeat
        self._last_change = monotonic()

    async def run(self) -> None:
        """Read until the build has ended and its last line was read, or until `close`."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read_all())
                tasks.create_task(self._wait_for_end())
                tasks.create_task(self._beat())
        except* Exception as errors:  # noqa: BLE001  the other streams go on
            log.error("log stream failed", build_id=self._build_id, exc_info=errors)
            self._finish()

    def close(self) -> None:
        if self.task:
            self.task.cancel()
        self._finish()

    @property
    def last(self) -> Position:
        return self.pieces[-1].last if self.pieces else Position()

    async def lines(self, piece: Piece) -> Lines | None:
        """The lines of *piece*; None when the stream has deleted them.

        Raises:
            Unavailable: NATS does not respond.
        """
        if cached := self._cache.get(PieceOfBuild(self._build_id, piece.last)):
            return cached
        return await self._single_flight.run(piece.sequence, lambda: self._fetch(piece))

    async def _fetch(self, piece: Piece) -> Lines | None:
        try:
            message = await self._nats.stream.get_msg(STREAM, piece.sequence, direct=True)
        except NotFoundError:
            return None
        except _UNAVAILABLE as error:
            warn_once_a_second("NATS failed", error=str(error) or "timeout")
            raise Unavailable("the log cannot be read just now") from error
        if message.subject != self._subject:
            return None  # the stream is another one
        lines = _lines(message.headers, message.data, piece.last.attempt, piece.first)
        if lines.last != piece.last:
            return None
        self._cache[PieceOfBuild(self._build_id, lines.last)] = lines
        return lines

    async def _read_all(self) -> None:
        try:
            subscription = await self._nats.client.subscribe(self._subject, cb=self._on_message)
            try:
                while not self.is_over:
                    await self._read_next()
            finally:
                await subscription.unsubscribe()
        except NatsError as error:
            log.warning("log stream cannot be read", build_id=self._build_id, error=repr(error))
            self._finish()

    async def _on_message(self, message: Msg) -> None:
        self._notified_of = _lines(message.headers, message.data, 1, 1).last
        self._expected_until = monotonic() + _STORE_DELAY
        self._notified.set()

    async def _read_next(self) -> None:
        """Read the next message, or wait until there may be one."""
        had_ended = self._has_ended
        self._notified.clear()
        try:
            message = await self._nats.stream.get_msg(
                STREAM, self._last_sequence + 1, self._subject, direct=True, next=True
            )
        except NotFoundError:
            await self._wait(had_ended)
        except _UNAVAILABLE as error:
            log.warning("log lines not read for now", build_id=self._build_id, error=repr(error))
            if had_ended:
                self._finish()
            await asyncio.sleep(RETRY_DELAY)
        else:
            self._add(message)

    def _add(self, message: RawStreamMsg) -> None:
        self._last_sequence = message.seq or self._last_sequence + 1
        self.is_whole = COMPLETE in (message.headers or {})
        last = self.last
        lines = _lines(message.headers, message.data, last.attempt or 1, last.line + 1)
        if (lines.content or lines.steps) and lines.last > last:
            self._cache[PieceOfBuild(self._build_id, lines.last)] = lines
            self.newest = lines
            self.pieces.append(Piece(self._last_sequence, lines.first, lines.last))
            self._wake_clients()

    async def _wait(self, had_ended: bool) -> None:
        """Wait for a notification; the message that it announces may take a moment until it can be read.

        A message that cannot be read after a while has a lower number: the stream was lost and created again.
        """
        if self._notified_of > self.last and monotonic() < self._expected_until:
            await asyncio.sleep(0.001)
        elif self._notified_of > self.last and self._last_sequence:
            self._last_sequence = 0
        elif had_ended:
            self._finish()
        else:
            await wait_at_most(POLL_SECONDS, self._notified)

    async def _wait_for_end(self) -> None:
        while not self._has_ended:
            try:
                self.result = await self._build_waiter.result(self._build_id)
                self._has_ended = True
            except BuildFailed:  # its record has expired
                self._has_ended = True
            except Unavailable:
                await asyncio.sleep(RETRY_DELAY)
        self._notified.set()

    async def _beat(self) -> None:
        while not self.is_over:
            await asyncio.sleep(max(self._last_change + self._heartbeat - monotonic(), 0.01))
            if monotonic() - self._last_change >= self._heartbeat:
                self.beats += 1
                self._wake_clients()

    def _finish(self) -> None:
        self.is_over = True
        self._wake_clients()

    def _wake_clients(self) -> None:
        self._last_change = monotonic()
        self.changed.wake_all()


def _lines(headers: Mapping[str, str] | None, content: bytes | None, attempt: int, first: int) -> Lines:
    """The lines and steps of a message; *attempt* and *first* are defaults for headers that are missing."""
    headers = headers or {}
    steps = decode_header(headers.get(STEPS, ""))
    return Lines(int(headers.get(ATTEMPT, attempt)), int(headers.get(FIRST_LINE, first)), content or b"", steps)
