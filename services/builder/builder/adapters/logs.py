"""The log of one build: line by line to whoever watches, whole to the store at the end."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError

from swell.log import log
from swell.store.logs import lock_key, log_key, log_subject
from swell.store.objects import Objects

TOGETHER = 0.05  # seconds; lines that come within are one message
MESSAGE = 64 << 10  # bytes of lines in one message
LIMIT = 256 << 20  # bytes of a log that are kept


_TEXT = "text/plain; charset=utf-8"


class BuildLogs:
    """Opens logs; the lines of a build that is still running are in files below *folder*."""

    def __init__(self, stream: JetStreamContext, objects: Objects, folder: Path) -> None:
        self._stream = stream
        self._objects = objects
        self._folder = folder

    def open(self, build_id: str) -> "BuildLog":
        return BuildLog(build_id, self._stream, self._objects, self._folder / log_key(build_id))

    async def keep_lock(self, build_id: str, lock: bytes) -> None:
        await self._objects.put(lock_key(build_id), lock, _TEXT)


class BuildLog:
    """Use as a context manager; leaving it without an exception keeps the whole log.

    A queue that is away costs the watchers their lines, never the build: the kept log has them all. What goes beyond
    `LIMIT` is left out of both, and the log says so.
    """

    def __init__(self, build_id: str, stream: JetStreamContext, objects: Objects, path: Path) -> None:
        self._build_id = build_id
        self._stream = stream
        self._objects = objects
        self._path = path
        self._size = 0
        self._waiting = bytearray()
        self._sent = 0.0
        self._flushing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def __aenter__(self) -> "BuildLog":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("wb")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._closing.set()
            if self._flushing:
                await self._flushing
            await self._flush()
            self._file.close()
            if error is None:
                await self._objects.put_file(log_key(self._build_id), self._path, _TEXT)
        finally:
            self._file.close()
            self._path.unlink(missing_ok=True)

    async def tell(self, line: bytes) -> None:
        """Add *line*, given without its line feed. The first goes out at once; a flood waits for the queue."""
        line += b"\n"
        if self._size > LIMIT:
            return
        self._size += len(line)
        if self._size > LIMIT:
            line = b"(the log is longer than is kept: the rest is left out)\n"
        self._file.write(line)
        self._waiting += line
        if len(self._waiting) >= MESSAGE or time.monotonic() - self._sent > TOGETHER:
            await self._flush()
        elif self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_soon())

    async def _flush_soon(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(TOGETHER):
                await self._closing.wait()
        await self._flush()

    async def _flush(self) -> None:
        self._sent = time.monotonic()
        while self._waiting:
            piece = bytes(self._waiting[:MESSAGE])
            del self._waiting[:MESSAGE]
            try:
                await self._stream.publish(log_subject(self._build_id), piece, timeout=2)
            except (NatsError, JetStreamError, TimeoutError) as error:
                log.warning("log lines not streamed", build_id=self._build_id, error=repr(error))
                self._waiting.clear()
