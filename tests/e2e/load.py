"""The load of a client that repeats a failed request: builds, their scans, and pulls, one after the other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import aiohttp

from tests.e2e.client import Fields, Swell, client_of, encoded, until
from tests.e2e.outages.test_outages import manifest_at

T = TypeVar("T")


class Failed(Exception):
    """A request has got an error that a client may repeat."""


class Load:
    """Sends each request to one of *gateways*, and again to the next one, at most *attempts* times.

    `builds` has the ids of the builds that have succeeded; `repeated` is the number of requests that were repeated.
    """

    def __init__(self, gateways: Sequence[Swell], image: str, attempts: int, pause: float, *, scans: bool) -> None:
        self.builds: list[str] = []
        self.repeated = 0
        self._gateways = gateways
        self._image = image
        self._attempts = attempts
        self._pause = pause
        self._scans = scans
        self._turn = 0

    async def run(self) -> None:
        """Build, scan and pull without end; raises AssertionError when a request has failed too often."""
        while True:
            await self._once(f"FROM {self._image}\nRUN echo load {self._turn} > /load\n")

    async def more(self, count: int) -> None:
        """Wait until *count* more builds have succeeded."""
        wanted = len(self.builds) + count

        async def look() -> bool:
            return len(self.builds) >= wanted

        await until(look, seconds=240)

    async def _once(self, containerfile: str) -> None:
        options = {"scanMode": "async"} if self._scans else {}
        answer = await self._answered(lambda gateway: _accepted(gateway, containerfile, **options))
        record = await self._end(f"/v1alpha1/builds/{answer['buildId']}", lambda found: "exitStatus" in found)
        assert record["exitStatus"] == 0, record
        assert await self._answered(lambda gateway: _pulled(gateway, answer["targetImage"])) == 200
        if self._scans:
            scan = await self._end(f"/v1alpha1/scans/{answer['scanId']}", lambda found: found["status"] != "PENDING")
            assert scan["status"] == "SUCCEEDED", scan
        self.builds.append(answer["buildId"])

    async def _end(self, path: str, has_ended: Callable[[Fields], bool]) -> Fields:
        """Ask for a record until it has ended, at most two minutes."""

        async def look() -> Fields | None:
            record = await self._answered(lambda gateway: _read(gateway, path))
            return record if has_ended(record) else None

        return await until(look, seconds=120)

    async def _answered(self, ask: Callable[[Swell], Awaitable[T]]) -> T:
        self._turn += 1
        first, problems = self._turn, list[str]()
        while len(problems) < self._attempts:
            try:
                return await ask(self._gateways[(first + len(problems)) % len(self._gateways)])
            except (aiohttp.ClientError, Failed, TimeoutError) as error:
                self.repeated += 1
                problems.append(repr(error))
                await asyncio.sleep(self._pause)
        raise AssertionError(f"a request failed {len(problems)} times: {problems}")


async def _accepted(gateway: Swell, containerfile: str, **options: str) -> Fields:
    status, answer = await gateway.post(containerFile=encoded(containerfile), **options)
    return _unless_failed(status, answer)


async def _read(gateway: Swell, path: str) -> Fields:
    return _unless_failed(*await gateway.get(path))


def _unless_failed(status: int, answer: Fields) -> Fields:
    if status >= 500:
        raise Failed(f"{status} {answer}")
    assert status == 200, answer
    return answer


async def _pulled(gateway: Swell, image: str) -> int:
    status = await manifest_at(gateway.url, image)
    if status >= 500:
        raise Failed(f"{status} of a manifest")
    return status


@asynccontextmanager
async def loading(
    urls: Sequence[str], image: str, *, attempts: int, pause: float = 0, scans: bool = False, clients: int = 2
) -> AsyncIterator[Load]:
    """Run the load of some *clients* while the block runs; a request that fails too often ends the block."""
    async with AsyncExitStack() as opened:
        gateways = [await opened.enter_async_context(client_of(url)) for url in urls]
        load = Load(gateways, image, attempts, pause, scans=scans)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(load.run()) for _ in range(clients)]
            yield load
            for task in running:
                task.cancel()
