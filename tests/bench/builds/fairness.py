"""How many builds of one client another client waits for."""

import asyncio
import uuid
from base64 import b64encode

import aiohttp

from tests.bench.bar import Bar, Result, Round, judge
from tests.bench.builds.builds import BuildEvents
from tests.bench.place import Place

ROUNDS = 3
BUILDS = 30  # of one client
_OTHER = ("127.0.0.2", 0)  # clients without a key are distinguished by their addresses

# `SWELL_BUILDS_AT_ONCE` is 8; one more may end while the other client's build runs.
WAITED = Bar(name="builds of another client before one's own, it has 30", unit="builds", must=9, aim=9)


async def fair_queue(place: Place) -> list[Result]:
    """One client submits 30 builds, then another client submits one: count those that end before it."""
    events = BuildEvents()
    await events.listen(place)
    connector = aiohttp.TCPConnector(local_addr=_OTHER)
    async with aiohttp.ClientSession(raise_for_status=True, connector=connector) as other:
        return [judge(WAITED, [Round(await _waited(place, events, other)) for _ in range(ROUNDS)])]


async def _waited(place: Place, events: BuildEvents, other: aiohttp.ClientSession) -> float:
    many = [(await place.submit(containerFile=_recipe(place, 0.5)))["buildId"] for _ in range(BUILDS)]
    async with other.post(f"{place.gateway}/v1alpha2/container", json={"containerFile": _recipe(place, 0)}) as answer:
        own = await events.end((await answer.json())["buildId"])
    ends = await asyncio.gather(*(events.end(each) for each in many))
    return sum(end < own for end in ends)


def _recipe(place: Place, seconds: float) -> str:
    file = f"FROM {place.image()}\nRUN sleep {seconds}; echo {uuid.uuid4().hex}\n"
    return b64encode(file.encode()).decode()
