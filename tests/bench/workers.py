"""Several workers of one gateway, beside a single process: what they share may not cost what more cores bring.

A machine with two cores cannot show how many cores scale, and one process with its load already uses both. So two
workers on both cores have to answer as many requests as one process there, with as many connections.

Four workers with a core each are simulated: they have one core, the load has the other one, and they take turns, one
running while the others are stopped. If they answer as many requests as one process on that core, a request costs the
same in each, and more cores bring more. Each worker has as many connections as the one process.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGSTOP

from swell.concurrency.background import background
from swell_embedded.processes.child import Child
from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.load import CONNECTIONS, load
from tests.bench.place import ACCEPT, BASE, Place
from tests.e2e.environment import gateway_beside

ROUNDS = 3
WORKERS = 4
TURN = 0.1  # seconds in which one worker runs alone
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
    name=f"warm manifest by tag, {WORKERS} workers with a core each, simulated, a core",
    unit="requests/s",
    must=0.85,
    aim=0.95,
    compared=Compared.RATIO,
    peer="one process on a core",
    at_least=True,
)


async def workers(place: Place) -> list[Result]:
    """Measure gateways of several workers and of one process alternately."""
    token, cores = await place.token(), os.sched_getaffinity(0)
    async with _gateway(place, 1) as one:
        async with _gateway(place, 2) as two:
            total = [
                Round(*[await _rate(place, token, each, 2 * CONNECTIONS) for each in (two, one)]) for _ in range(ROUNDS)
            ]
        async with _gateway(place, WORKERS) as four:
            pinned = [await _taking_turns(place, token, four, one, cores) for _ in range(ROUNDS)]
    return [judge(TOTAL, total), judge(PINNED, pinned)]


async def _taking_turns(
    place: Place, token: str, four: tuple[str, int], one: tuple[str, int], cores: set[int]
) -> Round:
    mine, others = {min(cores)}, cores - {min(cores)} or cores
    for _, process in (four, one):
        _pin(process, mine)
    async with background(_take_turns([*_children(four[1])])):
        ours = await _rate(place, token, four, WORKERS * CONNECTIONS, others)
    return Round(ours, await _rate(place, token, one, CONNECTIONS, others))


async def _take_turns(processes: Sequence[int]) -> None:
    """Let each of *processes* run while the others are stopped, until cancelled."""
    try:
        while True:
            for runs in processes:
                for each in processes:
                    os.kill(each, SIGCONT if each == runs else SIGSTOP)
                await asyncio.sleep(TURN)
    finally:
        for each in processes:
            os.kill(each, SIGCONT)


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


async def _rate(
    place: Place, token: str, gateway: tuple[str, int], connections: int, cores: Collection[int] = ()
) -> float:
    """Requests per second of *gateway*; the load runs on *cores*, or on any."""
    manifest = place.path(gateway[0], "manifests", f"wt/{token}/{BASE}")
    loading = partial(load, manifest, ACCEPT, connections=connections, cores=cores)
    await loading(seconds=1)  # every worker stores the grant and the manifest
    return (await loading()).per_second


def _pin(process: int, cores: set[int]) -> None:
    for each in (process, *_children(process)):
        for thread in Path(f"/proc/{each}/task").iterdir():
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(thread.name), cores)


def _children(process: int) -> Iterator[int]:
    for thread in Path(f"/proc/{process}/task").iterdir():
        yield from map(int, (thread / "children").read_text().split())


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
