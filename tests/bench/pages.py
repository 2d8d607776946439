"""The first byte of pages at 50 requests a second, while a thousand clients watch a log.

`python -m tests.bench.pages SECONDS URL …` sends the requests in another process than the watchers.
"""

import asyncio
import json
import sys
import time
import uuid
from base64 import b64encode
from statistics import quantiles
from urllib.parse import urlsplit

from tests.bench.bar import Bar, Result, Round, judge
from tests.bench.place import Place
from tests.bench.process import CannotMeasure, run

ROUNDS = 3
WATCHERS = 1000
RATE = 50  # requests a second
SECONDS = 8
LINES = 2  # of the log, a second
_CONNECTING = 60.0

FIRST_BYTE = Bar(name="first byte of a page at 50/s, 1,000 watchers, p99", unit="ms", must=20, aim=20)


async def page_first_byte(place: Place) -> list[Result]:
    """The pages of a running and an ended build, of packages, and of a container request, each in turn."""
    ended = await place.submit(containerFile=_recipe(place, "true"))
    await _ended(place, ended["buildId"])
    long = f"for n in $(seq {LINES * 300}); do echo line $n; sleep {1 / LINES}; done"
    running = await place.submit(containerFile=_recipe(place, long))
    paths = (
        "/",
        f"/view/builds/{ended['buildId']}",
        f"/view/builds/{running['buildId']}",
        f"/view/containers/{ended['requestId']}",
    )
    urls = [f"{place.gateway}{path}" for path in paths]
    started = asyncio.Semaphore(0)
    watching = [asyncio.create_task(_watch(place, running["buildId"], started)) for _ in range(WATCHERS)]
    try:
        async with asyncio.timeout(_CONNECTING):
            for _ in range(WATCHERS):
                await started.acquire()
        await _load(urls, seconds=2)  # loads the templates
        rounds = [Round(await _load(urls, SECONDS)) for _ in range(ROUNDS)]
        if broken := sum(task.done() for task in watching):
            raise CannotMeasure(f"{broken} of {WATCHERS} watchers were disconnected")
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        cancel = f"{place.gateway}/v1alpha1/builds/{running['buildId']}/cancel"
        async with place.http.post(cancel, json={"requestId": running["requestId"]}):
            pass
    return [judge(FIRST_BYTE, rounds)]


async def _load(urls: list[str], seconds: int) -> float:
    """The p99 of the milliseconds until the first byte."""
    command = (sys.executable, "-m", "tests.bench.pages", str(seconds), *urls)
    taken = json.loads(await run(*command, within=seconds + 60))
    return float(quantiles(taken, n=100)[98])


async def _watch(place: Place, build_id: str, started: asyncio.Semaphore) -> None:
    """Read the events of a log until cancelled; release *started* at the first line."""
    host = urlsplit(place.gateway)
    reader, writer = await asyncio.open_connection(host.hostname, host.port)
    path = f"/v1alpha1/builds/{build_id}/logs"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host.netloc}\r\nAccept: text/event-stream\r\n\r\n".encode())
    try:
        is_first = True
        while piece := await reader.read(1 << 16):
            if is_first and b"data: " in piece:
                is_first = False
                started.release()
    finally:
        writer.close()


async def _ended(place: Place, build_id: str) -> None:
    async with asyncio.timeout(_CONNECTING):
        url = f"{place.gateway}/v1alpha1/builds/{build_id}/status"
        while json.loads(await place.get(url))["status"] != "COMPLETED":  # noqa: ASYNC110  (of another process)
            await asyncio.sleep(0.2)


def _recipe(place: Place, command: str) -> str:
    return b64encode(f"FROM {place.image()}\nRUN {command}; echo {uuid.uuid4().hex}\n".encode()).decode()


async def _send(urls: list[str], seconds: int) -> list[float]:
    """Send `RATE` requests a second, whether or not earlier ones were answered; milliseconds from when each was due."""
    begin = time.perf_counter() + 0.1

    async def one(number: int) -> float:
        due = begin + number / RATE
        await asyncio.sleep(due - time.perf_counter())
        return await _first_byte(urls[number % len(urls)], due)

    return list(await asyncio.gather(*(one(number) for number in range(seconds * RATE))))


async def _first_byte(url: str, due: float) -> float:
    """Milliseconds from *due* until the first byte of the page *url*; raises `CannotMeasure` if it is not 200."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\nAccept: text/html\r\n\r\n"
        writer.write(head.encode())
        first = await reader.readexactly(12)
        taken = (time.perf_counter() - due) * 1000
        if first != b"HTTP/1.1 200":
            raise CannotMeasure(f"{url}: {first!r}")
        while await reader.read(1 << 16):
            pass
        return taken
    finally:
        writer.close()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_send(sys.argv[2:], int(sys.argv[1])))))
