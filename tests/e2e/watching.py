"""A client that watches the log of a build live."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp

from tests.e2e.client import Swell, log_path
from tests.unit.gateway.builds.eventsource import Event, parse

ACCEPT = {"Accept": "text/event-stream"}


class Watcher:
    """Reads one event stream; `status` is that of the response, `events` and `lines` are what has arrived so far."""

    def __init__(self, response: aiohttp.ClientResponse, last_id: str) -> None:
        self.status = response.status
        self._response = response
        self._last_id = last_id
        self._stream = b""
        self._changed = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with suppress(aiohttp.ClientError):
            async for piece in self._response.content.iter_any():
                self._stream += piece
                async with self._changed:
                    self._changed.notify_all()

    @property
    def events(self) -> list[Event]:
        return parse(self._stream, self._last_id)

    @property
    def lines(self) -> list[str]:
        return [event.data for event in self.events if event.name == "message"]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def last_id(self) -> str:
        return self.events[-1].id if self.events else self._last_id

    async def sees(self, text: str, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: text in self.text)

    async def end(self, seconds: float = 120) -> list[Event]:
        """Wait until the stream closes and return all its events."""
        async with asyncio.timeout(seconds):
            await self._reading
        return self.events

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


@asynccontextmanager
async def watching(swell: Swell, build_id: str, last_id: str = "") -> AsyncIterator[Watcher]:
    """Watch *build_id*, starting after the event *last_id*."""
    headers = ACCEPT | ({"Last-Event-ID": last_id} if last_id else {})
    timeout = aiohttp.ClientTimeout(total=300)
    async with (
        aiohttp.ClientSession(timeout=timeout, read_bufsize=1 << 20) as session,
        session.get(swell.url + log_path(build_id), headers=headers) as response,
    ):
        watcher = Watcher(response, last_id)
        try:
            yield watcher
        finally:
            await watcher.close()
