"""A builder's logs and a gateway's feeds on one real NATS server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from builder.adapters.logs.build_logs import BuildLogs
from builder.domain.secrets import Masker
from gateway.adapters.builds.build_logs import BuildLogs as KeptLogs
from gateway.adapters.builds.log_streams import LogStreams
from gateway.builds.event_encoding import Position
from gateway.builds.log_events import LogEvents
from swell.jobs.streams import Nats
from swell.store.builds.memory import MemoryBuilds
from swell.store.objects import MemoryObjects
from swell.store.records import BuildResult, Submission
from tests.unit.gateway.builds.eventsource import Event, parse
from tests.unit.gateway.doubles import NOON

LIMIT = 1 << 20


class Ends:
    """Results of builds, as the test sets them."""

    def __init__(self, builds: MemoryBuilds) -> None:
        self._builds = builds
        self._results: dict[str, asyncio.Future[BuildResult]] = {}

    async def result(self, build_id: str) -> BuildResult:
        return await asyncio.shield(self._results.setdefault(build_id, asyncio.get_running_loop().create_future()))

    async def end(self, build_id: str, result: BuildResult) -> None:
        await self._builds.finish(build_id, result)
        future = self._results.setdefault(build_id, asyncio.get_running_loop().create_future())
        if not future.done():
            future.set_result(result)


class Harness:
    """One builder and one gateway, with what is between them."""

    def __init__(self, nats: Nats, folder: Path, masker: Callable[[Iterable[bytes]], Masker] = Masker) -> None:
        self.nats = nats
        self.folder = folder
        self.objects = MemoryObjects()
        self.builds = MemoryBuilds()
        self.ends = Ends(self.builds)
        self.logs = BuildLogs(nats.stream, self.objects, folder, masker, LIMIT)

    async def submit(self, number: int = 1) -> str:
        submission = Submission(
            container_id=f"{number:016x}",
            target_image=f"registry.example.com/team/builds:{number:016x}",
            containerfile="FROM alpine\n",
            platform="linux/amd64",
            created=NOON,
        )
        return (await self.builds.submit(submission))[0]

    async def die(self, build_id: str, attempt: int, count: int, seen: Callable[[], Awaitable[None]]) -> None:
        """An attempt that logs *count* lines, and whose builder crashes when they are *seen*."""
        with suppress(ConnectionError):
            async with self.logs.open(build_id, attempt) as log:
                for _ in range(count):
                    await log.write_line(b"in vain")
                await seen()
                raise ConnectionError

    @asynccontextmanager
    async def gateway(self, nats: Nats | None = None, **settings: float) -> AsyncIterator["Gateway"]:
        """A gateway, one of perhaps several."""
        nats = nats or self.nats
        async with LogStreams(nats, self.ends, **settings) as feeds:  # type: ignore[arg-type]
            yield Gateway(LogEvents(self.builds, feeds, KeptLogs(self.objects, nats.stream)), feeds)


class Gateway:
    def __init__(self, log_events: LogEvents, feeds: LogStreams) -> None:
        self.log_events = log_events
        self.feeds = feeds

    async def watch(self, build_id: str, after: Position = Position()) -> "Screen":  # noqa: B008
        """A client of the stream; its first piece was received, so it is subscribed."""
        pieces = await self.log_events.stream(build_id, after)
        assert pieces is not None
        screen = Screen(pieces)
        await screen.begun.wait()
        return screen


class Screen:
    """What a watcher has seen."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self.stream = b""
        self.begun = asyncio.Event()
        self._events = asyncio.Condition()
        self._reading = asyncio.create_task(self._read(pieces))

    async def _read(self, pieces: AsyncIterator[bytes]) -> None:
        try:
            async for piece in pieces:
                self.stream += piece
                self.begun.set()
                async with self._events:
                    self._events.notify_all()
        finally:
            self.begun.set()

    @property
    def events(self) -> list[Event]:
        return parse(self.stream)

    @property
    def lines(self) -> list[str]:
        return [event.data for event in self.events if event.name == "message"]

    async def sees(self, text: bytes, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds), self._events:
            await self._events.wait_for(lambda: text in self.stream)

    async def end(self, seconds: float = 60) -> list[Event]:
        """All events, when there are no more."""
        async with asyncio.timeout(seconds):
            await self._reading
        return self.events

    async def leave(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
