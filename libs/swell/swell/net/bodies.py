"""Read the bodies of responses: bounded in bytes and in time."""

import asyncio
import time
from collections.abc import AsyncGenerator

import aiohttp
from msgspec import Struct

from swell.errors import UpstreamFailed
from swell.net.failures import translated

PIECE = 1 << 20
DRIP_SECONDS = 60
SLOWEST = 1024  # bytes a second
GATHER_SECONDS = 0.5


async def read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read the whole body of *response*, at most *limit* bytes.

    Raises:
        UpstreamFailed: it is longer, or the connection breaks.
    """
    body = bytearray()
    if (response.content_length or 0) <= limit:
        async for piece in pieces(response):
            body += piece
            if len(body) > limit:
                break
        else:
            return bytes(body)
    response.close()
    raise UpstreamFailed(f"{response.url.authority} sends more than {limit} bytes")


class Pace(Struct, frozen=True):
    """The minimum rate of a body: no pause of `silence` seconds, and `slowest` bytes per second in each `window`.

    `window` is in seconds. Only time in which the reader waits counts.
    """

    silence: float | None = None
    slowest: int = SLOWEST
    window: float = DRIP_SECONDS


async def pieces(response: aiohttp.ClientResponse, pace: Pace | None = None) -> AsyncGenerator[bytes, None]:
    """Yield the body of *response*: the first bytes at once, later pieces of about 1 MiB, which cost less CPU time.

    A smaller piece is yielded after half a second. At most two MiB are read ahead.

    Raises:
        UpstreamFailed: the connection breaks, no byte arrives for the idle timeout, or the body is slower than *pace*:
            by default, less than 1 KiB/s over a minute.
    """
    enough, gathered, size, since = 1, list[bytes](), 0, 0.0
    with translated(response.url):
        try:
            async for piece in _flowing(response, pace or Pace(window=DRIP_SECONDS)):
                if not gathered:
                    since = time.monotonic()
                gathered.append(piece)
                size += len(piece)
                if size >= enough or time.monotonic() - since > GATHER_SECONDS:
                    yield b"".join(gathered)
                    enough, gathered, size = min(2 * size, PIECE), [], 0
        except (aiohttp.ClientError, TimeoutError):
            if gathered:
                yield b"".join(gathered)
            raise
    if gathered:
        yield b"".join(gathered)


async def _flowing(response: aiohttp.ClientResponse, pace: Pace) -> AsyncGenerator[bytes, None]:
    """Yield the parts of the body as they arrive; time that the caller spends between two parts is not counted."""
    waited, received = 0.0, 0
    watch = _Watch(response, pace.silence)
    try:
        async for piece in response.content.iter_any():
            waited += watch.arrived()
            received += len(piece)
            if waited > pace.window:
                if received < pace.slowest * waited:
                    raise TimeoutError
                waited, received = 0.0, 0
            yield piece
            watch.waiting()
    except aiohttp.ClientError as error:
        if watch.is_over:
            raise TimeoutError from error
        raise
    finally:
        watch.end()


class _Watch:
    """Closes *response* if no byte arrives for *silence* seconds.

    It uses one timer for the whole body: a timeout around each part would cost more time than the part.
    """

    def __init__(self, response: aiohttp.ClientResponse, silence: float | None) -> None:
        self.is_over = False
        self._response = response
        self._silence = silence
        self._since: float | None = time.monotonic()
        self._quiet = (response.content.total_bytes, time.monotonic())
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def waiting(self) -> None:
        self._since = time.monotonic()

    def arrived(self) -> float:
        """Return the seconds since `waiting`."""
        waited = time.monotonic() - (self._since or 0.0)
        self._since = None
        return waited

    def end(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _look(self) -> None:
        """Check the received bytes themselves: on a busy machine they arrive before a task can read them."""
        if self._silence is None:
            return
        now, total = time.monotonic(), self._response.content.total_bytes
        if self._since is None or total != self._quiet[0]:
            self._quiet = total, now
        if now - self._quiet[1] >= self._silence:
            self.is_over = True
            self._response.close()
        else:
            self._timer = asyncio.get_running_loop().call_later(self._silence / 4, self._look)
