"""The search for packages: the builder runs few of them, so one client gets a part of the places."""

import asyncio

from gateway.domain.access.identity import ANONYMOUS, Caller
from gateway.package_search import AT_ONCE, Found, PackageSearch

ADA, BOB = Caller(ANONYMOUS, "203.0.113.1"), Caller(ANONYMOUS, "203.0.113.2")


class Slow:
    """Packages that are found when `are_found` is set."""

    def __init__(self) -> None:
        self.are_found = asyncio.Event()
        self.running = list[str]()

    async def search(self, text: str, platform: str) -> Found:
        if text:
            self.running.append(text)
            await self.are_found.wait()
        return Found(channels=("conda-forge",))


async def test_a_client_takes_a_part_of_the_searches() -> None:
    """Forty searches of one client took all places of the builder: those of others were refused."""
    packages = Slow()
    search = PackageSearch(packages)
    tasks = [asyncio.create_task(search.search("ada", "linux/amd64", ADA)) for _ in range(40)]
    tasks.append(asyncio.create_task(search.search("bob", "linux/amd64", BOB)))
    await asyncio.sleep(0)
    assert sorted(packages.running) == ["ada"] * AT_ONCE + ["bob"]
    assert await search.channels() == ("conda-forge",)

    packages.are_found.set()
    await asyncio.gather(*tasks)
    assert packages.running.count("ada") == 40
