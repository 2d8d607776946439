"""The delay of log lines for a thousand watchers, and their cost for the build."""

import asyncio
import re
import time
import uuid
from base64 import b64encode
from datetime import datetime
from statistics import median
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.builds.builds import BuildEvents
from tests.bench.place import Place
from tests.bench.process import CannotMeasure

ROUNDS = 3
WATCHERS = 1000
LINES = 30  # a tenth of a second apart
_TIME_LIMIT = 60.0
_WORK = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"  # some tens of milliseconds of a core

SEEN = Bar(name="log line to watcher, 1,000 watchers, p50", unit="ms", must=50, aim=50)
COST = Bar(
    name="build with 1,000 watchers",
    unit="s",
    must=1.05,
    aim=1.05,
    compared=Compared.RATIO,
    peer="the same build with none",
)
_LINE = re.compile(rb"data: (?:#\d+ [\d.]+ )?said ([-\d]+ [:\d]+\.\d{6})\d* \+0000\n")


class Watched(NamedTuple):
    """Seconds of the build, and milliseconds until its lines arrived."""

    took: float
    seen: list[float]


async def watched_build(place: Place) -> list[Result]:
    """Steps print the time, and the watchers compare it with the same clock. Builds with and without watchers
    alternate.
    """
    ear = BuildEvents()
    await ear.listen(place)
    await _build(place, ear, 0)
    seen, cost = [], []
    for _ in range(ROUNDS):
        alone, watched = await _build(place, ear, 0), await _build(place, ear, WATCHERS)
        seen.append(Round(median(watched.seen)))
        cost.append(Round(watched.took, alone.took))
    return [judge(SEEN, seen), judge(COST, cost)]


async def _build(place: Place, ear: BuildEvents, watchers: int) -> Watched:
    """Watchers connect before the first line; their connection time is not part of the build."""
    started = time.perf_counter()
    build_id = str((await place.submit(containerFile=_recipe(place)))["buildId"])
    tasks = [asyncio.create_task(_watch(place, build_id)) for _ in range(watchers)]
    try:
        ended = await ear.end(build_id)
        async with asyncio.timeout(_TIME_LIMIT):
            seen = [each for task in tasks for each in await task]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if watchers and len(seen) < watchers * LINES * 0.9:
        raise CannotMeasure(f"{len(seen)} of {watchers * LINES} lines were seen")
    return Watched(ended - started, seen)


async def _watch(place: Place, build_id: str) -> list[float]:
    """Return the milliseconds that each line took from the step to this process, until the stream ends."""
    host = urlsplit(place.gateway)
    reader, writer = await asyncio.open_connection(host.hostname, host.port)
    path = f"/v1alpha1/builds/{build_id}/logs"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host.netloc}\r\nAccept: text/event-stream\r\n\r\n".encode())
    taken: list[float] = []
    rest = b""
    try:
        while b"event: end" not in rest:
            piece = await reader.read(1 << 16)
            if not piece:
                raise CannotMeasure("a stream broke off")
            now, rest = time.time(), rest + piece
            if said := list(_LINE.finditer(rest)):
                taken += [(now - _moment(each[1])) * 1000 for each in said]
                rest = rest[said[-1].end() :]
    finally:
        writer.close()
    return taken


def _moment(text: bytes) -> float:
    """Return seconds since the epoch; the time of a file is that of the last tick, up to 4 ms ago."""
    return datetime.fromisoformat(f"{text.decode()}+00:00").timestamp()


def _recipe(place: Place) -> str:
    """Return a step that waits for its watchers, then works a little and prints the time repeatedly."""
    say = f'for n in $(seq {LINES}); do {_WORK}; touch /now; echo "said $(stat -c %y /now)"; sleep 0.1; done'
    file = f"FROM {place.image()}\nRUN sleep 2; {say}; echo {uuid.uuid4().hex}\n"
    return b64encode(file.encode()).decode()
