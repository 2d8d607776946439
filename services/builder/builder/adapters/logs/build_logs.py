"""The log of a build: each line and step is streamed to watchers, and the whole log is stored at the end.

A build does not wait for an object store that is unavailable: its log is in a file until it can be stored.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType

import msgspec
from msgspec import structs
from nats.js import JetStreamContext

from builder.adapters.logs.line_sender import LineSender
from builder.adapters.logs.uploads import Uploads
from builder.domain.secrets import Masker, is_piece, may_go_on
from swell.api.builds import BuildStep
from swell.concurrency.at_once import at_once
from swell.store.logs import LoggedStep, StoredSteps, log_key, steps_key
from swell.store.objects import Objects

LIMIT = 64 << 20  # bytes of a log that are stored
END = 256 << 10  # bytes that are stored of the end of a longer one
STEPS = 2 << 20  # bytes of the steps of a log, with their changes
LONGEST_NAME = 1000  # characters of a step's name, and of its error
HELD = 1.0  # seconds; how long a line is held back that the next one may continue


class BuildLogs:
    """Opens logs; the lines of a running build are in a file below *folder*, which is empty at the start.

    Finished logs that cannot be stored yet are in `finished/` below it: `uploads.run` stores them.
    *masker* returns the masker for a new log, which also masks the secrets that it gets; *limit* is in bytes.
    """

    def __init__(
        self,
        stream: JetStreamContext,
        objects: Objects,
        folder: Path,
        masker: Callable[[Iterable[bytes]], Masker] = Masker,
        limit: int = LIMIT,
    ) -> None:
        self._stream = stream
        self.uploads = Uploads(objects, folder / "finished")
        self._folder = folder
        self._masker = masker
        self._limit = limit
        for unfinished in folder.glob("*.log"):  # of a process that was killed
            unfinished.unlink()

    def open(self, build_id: str, attempt: int = 1, secrets: Iterable[bytes] = ()) -> "BuildLog":
        sender, masker = LineSender(build_id, attempt, self._stream), self._masker(secrets)
        path = self._folder / log_key(build_id)
        return BuildLog(build_id, attempt, sender, self.uploads, path, masker, self._limit)


class BuildLog:
    """A context manager, which stores the whole log when the block ends without an exception, or has it stored later.

    Watchers receive the stored lines with the same line numbers. Of a log longer than *limit*, the beginning and the
    end are stored, and a line between them says how much is left out.
    """

    def __init__(
        self,
        build_id: str,
        attempt: int,
        sender: LineSender,
        uploads: Uploads,
        path: Path,
        masker: Masker,
        limit: int,
    ) -> None:
        self._build_id = build_id
        self._attempt = attempt
        self._sender = sender
        self._uploads = uploads
        self._path = path
        self._masker = masker
        self._limit = limit
        self._size = 0
        self._held: bytes | None = None
        self._holding: asyncio.TimerHandle | None = None
        self._end: deque[bytes] = deque()
        self._end_size = self._left_out = self._left_out_size = 0
        self._lines = 0  # that are written
        self._steps: list[LoggedStep] = []
        self._steps_size = 0
        self._attached: dict[str, bytes] = {}

    async def __aenter__(self) -> "BuildLog":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("wb")
        self._sender.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._write_end()
                self._file.close()
                await at_once(2, (self._store, lambda: self._sender.close(complete=True)))
        finally:
            await self._sender.close(complete=False)
            self._clear_held()
            self._file.close()
            self._path.unlink(missing_ok=True)

    async def write_line(self, line: bytes) -> None:
        """Add *line*, given without its line feed, or several with line feeds between them.

        The first is sent immediately; many lines wait for the queue.
        """
        if self._size >= self._limit:
            self._append_to_end(line)
            return
        await self._mask(line)
        if self._size >= self._limit:
            await self._mask(b"(this log is longer than the %d bytes that are stored: its end follows)" % self._limit)

    async def write_step(self, step: BuildStep) -> None:
        """Add a change of *step*, after the lines that were written before; at most `STEPS` bytes of them."""
        name, error = self.masked(step.name)[:LONGEST_NAME], self.masked(step.error)[:LONGEST_NAME]
        order = self._steps[-1].order + 1 if self._steps and self._steps[-1].line == self._lines else 1
        logged = LoggedStep(self._lines, order, structs.replace(step, name=name, error=error))
        before, self._steps_size = self._steps_size, self._steps_size + len(msgspec.json.encode(logged))
        if self._steps_size <= STEPS:
            self._steps.append(logged)
            self._sender.append_step(logged)
        elif before <= STEPS:
            await self.write_line(b"(this build has more steps than are stored: no more of them are sent as events)")

    def masked(self, text: str) -> str:
        return self._masker.mask(text.encode()).decode()

    def attach(self, key: str, content: bytes) -> None:
        self._attached[key] = content

    async def _store(self) -> None:
        """Store the log, its steps and what is attached, at once: the build waits for the slowest."""
        if self._steps:
            steps = msgspec.json.encode(StoredSteps(self._attempt, tuple(self._steps)))
            self.attach(steps_key(self._build_id), steps)
        contents = [partial(self._uploads.add_content, *each) for each in self._attached.items()]
        await at_once(len(contents) + 1, [*contents, partial(self._uploads.add, self._path.name, self._path)])

    async def _write_end(self) -> None:
        if self._left_out:
            message = b"(%d lines with %d bytes are left out here)" % (self._left_out, self._left_out_size)
            await self._mask(message)
        for line in self._end:
            await self._mask(line)
        self._write_held()

    def _append_to_end(self, line: bytes) -> None:
        self._end.append(line)
        self._end_size += len(line) + 1
        while self._end_size > END:
            removed = self._end.popleft()
            self._end_size -= len(removed) + 1
            self._left_out += 1 + removed.count(b"\n")
            self._left_out_size += len(removed) + 1

    async def _mask(self, line: bytes) -> None:
        """Write *line* when the next one is known, which may continue a secret, or `HELD` seconds later."""
        if self._held is not None:
            held, line = self._masker.mask_across(self._held, line)
            self._clear_held()
            await self._sender.add(self._write(held))
        if may_go_on(line):
            self._held = line
            if not is_piece(line):
                self._holding = asyncio.get_running_loop().call_later(HELD, self._write_held)
        else:
            await self._sender.add(self._write(line))

    def _write_held(self) -> None:
        if (held := self._held) is not None:
            self._clear_held()
            self._sender.append(self._write(held))

    def _clear_held(self) -> None:
        self._held = None
        if self._holding:
            self._holding.cancel()
            self._holding = None

    def _write(self, line: bytes) -> bytes:
        """Write *line* to the file; return it, masked, for the watchers."""
        written = self._masker.mask(line) + b"\n"
        self._size += len(written)
        self._lines += written.count(b"\n")
        self._file.write(written)
        return written
