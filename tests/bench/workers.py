"""Several workers of one gateway, beside a single process: what they share may not cost what more cores bring.

A machine with two cores cannot show how many cores scale. So four workers on one core are compared with one process on
that core: if they answer as many requests together, a request costs the same in each, and more cores bring more.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from swell_embedded.processes.child import Child
from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.load import load
from tests.bench.place import ACCEPT, BASE, Place
from tests.e2e.environment import gateway_beside

ROUNDS = 3
WORKERS = 4
START_SECONDS = 60

TOTAL = Bar(
    name="warm manifest by tag, two workers on two cores, requests/s",
    unit="requests/s",
    must=0.9,
    aim=1.0,
    compared=Compared.RATIO,
    peer="one process",
    at_least=True,
)
PINNED = Bar(
    name=f"warm manifest by tag, {WORKERS} workers on one core, requests/s",
    unit="requests/s",
    must=0.85,
    aim=0.95,
    compared=Compared.RATIO,
    peer="one process on that core",
    at_least=True,
)


async def workers(place: Place) -> list[Result]:
    """Measure gateways beside that of the stack, alternately; the load runs on all cores."""
    token, every = await place.token(), os.sched_getaffinity(0)
    one_core = {min(every)}
    async with _gateway(place, 1) as one:
        async with _gateway(place, 2) as two:
            total = [await _rates(place, token, one, two, every) for _ in range(ROUNDS)]
        async with _gateway(place, WORKERS) as four:
            pinned = [await _rates(place, token, one, four, one_core) for _ in range(ROUNDS)]
    return [judge(TOTAL, total), judge(PINNED, pinned)]


@asynccontextmanager
async def _gateway(place: Place, count: int) -> AsyncIterator[tuple[str, int]]:
    """A gateway of *count* workers: its base URL and its process id."""
    url, program = gateway_beside(place.stack, f"workers-{count}", GATEWAY_WORKERS=str(count), OPERATOR_LISTEN="off")
    child = await Child.start(program, place.home)
    try:
        await child.ready()
        await _until_listening(int(url.rpartition(":")[2]), count)  # the first worker answers at the shared port
        yield url.replace("localhost", "127.0.0.1"), child.pid
    finally:
        await child.stop()


async def _rates(place: Place, token: str, peer: tuple[str, int], ours: tuple[str, int], cores: set[int]) -> Round:
    return Round(await _rate(place, token, ours, cores), await _rate(place, token, peer, cores))


async def _rate(place: Place, token: str, gateway: tuple[str, int], cores: set[int]) -> float:
    """Requests per second of *gateway*, whose processes run on *cores*."""
    url, process = gateway
    for thread in _threads(process):
        with suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(thread, cores)
    manifest = place.path(url, "manifests", f"wt/{token}/{BASE}")
    await load(manifest, ACCEPT, seconds=1)  # every worker stores the grant and the manifest
    return (await load(manifest, ACCEPT)).per_second


async def _until_listening(port: int, count: int) -> None:
    """Wait for *count* sockets that listen on *port*; in `/proc/net/tcp`, their state is 0A.

    Source: proc(5), https://man7.org/linux/man-pages/man5/proc_net.5.html
    """
    async with asyncio.timeout(START_SECONDS):
        while _listeners(port) < count:  # noqa: ASYNC110  (a port sends no event)
            await asyncio.sleep(0.1)


def _listeners(port: int) -> int:
    sockets = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in sockets)


def _threads(process: int) -> Iterator[int]:
    """The threads of *process* and of its children."""
    for task in Path(f"/proc/{process}/task").iterdir():
        yield int(task.name)
        for child in (task / "children").read_text().split():
            yield from _threads(int(child))
