"""Sends the lines and steps of a build to its watchers, in order and in the background."""

import asyncio
import time
from collections import deque
from contextlib import suppress

from nats.js import JetStreamContext

from swell.concurrency.notifier import wait_at_most
from swell.errors import Unavailable
from swell.jobs.publish import store
from swell.log import log
from swell.store.logs import ATTEMPT, COMPLETE, FIRST_LINE, STEPS, LoggedStep, encode_header, log_subject

TOGETHER = 0.05  # seconds; lines of that time are one message
MESSAGE = 64 << 10  # bytes of lines in one message
STEPS_TOGETHER = 32 << 10  # bytes of the header with steps: all headers of a message can have 64 KiB
WAITING = 1 << 20  # bytes of lines that wait to be sent
_TIMEOUT = 2.0  # seconds for one message, and at the end for the last ones
_TRY_AGAIN = 0.5


class LineSender:
    """Sends lines. While the queue is unavailable, watchers lose lines, but the build does not wait.

    Many lines wait for an available queue. Up to `WAITING` bytes wait for an unavailable one; from the line numbers
    watchers see which are missing. All steps wait: the log limits them.
    """

    def __init__(self, build_id: str, attempt: int, stream: JetStreamContext) -> None:
        self._build_id = build_id
        self._attempt = attempt
        self._stream = stream
        self._waiting: deque[bytes | LoggedStep] = deque()
        self._size = 0
        self._first = 1  # the number of the first line that waits
        self._arrived = asyncio.Event()
        self._drained = asyncio.Event()
        self._closing = asyncio.Event()
        self._unavailable = False
        self._sent = 0.0

    def start(self) -> None:
        """Start the background task, which `close` ends."""
        self._sending = asyncio.create_task(self._send_all())  # no group: `close` awaits it

    async def add(self, lines: bytes) -> None:
        """Send *lines*, each with its line feed; wait while `WAITING` bytes wait for an available queue."""
        if self._size >= WAITING and not self._unavailable:
            self._drained.clear()
            await wait_at_most(_TIMEOUT, self._drained)
        self.append(lines)

    def append(self, lines: bytes) -> None:
        """Send *lines* without waiting."""
        if self._size >= WAITING:
            self._drop_waiting()
        self._waiting.append(lines)
        self._size += len(lines)
        self._arrived.set()

    def append_step(self, step: LoggedStep) -> None:
        """Send *step*, which comes after the lines that were appended before."""
        self._waiting.append(step)
        self._arrived.set()

    async def close(self, *, complete: bool) -> None:
        """Send the waiting lines and end; if *complete*, also send that these are all. Another call does nothing."""
        self._closing.set()
        self._arrived.set()
        with suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(0 if self._unavailable else _TIMEOUT):
                if not self._sending.done():
                    await self._sending
                if complete:
                    await self._publish(b"", {COMPLETE: "yes"})
        self._sending.cancel()
        await asyncio.gather(self._sending, return_exceptions=True)

    async def _send_all(self) -> None:
        while self._waiting or not self._closing.is_set():
            self._arrived.clear()
            if not self._waiting:
                await self._arrived.wait()
                continue
            if (early := self._sent + TOGETHER - time.monotonic()) > 0 and self._size < MESSAGE:
                await wait_at_most(early, self._closing)
            await self._send_some()

    async def _send_some(self) -> None:
        lines, steps = self._take_some()
        first = self._first
        self._first += lines.count(b"\n")
        self._size -= len(lines)
        self._drained.set()
        self._sent = time.monotonic()
        # The stream removes duplicates by this id: a message is sent again if its acknowledgement was lost.
        message_id = f"{self._build_id}:{self._attempt}:{first}"
        if not lines:
            message_id += f":{steps[0].line}.{steps[0].order}"
        headers = {FIRST_LINE: str(first), "Nats-Msg-Id": message_id}
        if steps:
            headers[STEPS] = encode_header(steps)
        while not await self._is_sent(lines, headers):
            await wait_at_most(_TRY_AGAIN, self._closing)

    def _take_some(self) -> tuple[bytes, list[LoggedStep]]:
        """Take the first waiting lines and steps, in their order, as many as fit into a message."""
        lines: list[bytes] = []
        steps: list[LoggedStep] = []
        size = steps_size = 0
        while self._waiting:
            item = self._waiting[0]
            if isinstance(item, LoggedStep):
                steps_size += len(encode_header([item]))
                if steps and steps_size > STEPS_TOGETHER:
                    break
                steps.append(item)
            else:
                if lines and size + len(item) > MESSAGE:
                    break
                lines.append(item)
                size += len(item)
            self._waiting.popleft()
        return b"".join(lines), steps

    async def _is_sent(self, lines: bytes, headers: dict[str, str]) -> bool:
        try:
            await self._publish(lines, headers)
        except Unavailable as error:
            if not self._unavailable:
                log.warning("log lines cannot be streamed", build_id=self._build_id, error=str(error))
            self._unavailable = True
            return self._closing.is_set()
        self._unavailable = False
        return True

    async def _publish(self, lines: bytes, headers: dict[str, str]) -> None:
        headers |= {ATTEMPT: str(self._attempt)}
        await store(self._stream, log_subject(self._build_id), lines, headers, seconds=_TIMEOUT)

    def _drop_waiting(self) -> None:
        self._first += sum(item.count(b"\n") for item in self._waiting if isinstance(item, bytes))
        self._waiting = deque(item for item in self._waiting if isinstance(item, LoggedStep))
        self._size = 0
