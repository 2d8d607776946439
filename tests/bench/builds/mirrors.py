"""Mirrors: the speed of a copy beside skopeo, the time of a second copy, and the memory of a large one."""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from yarl import URL

from swell.testing.images import Layer
from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.builds.copying import Figures
from tests.bench.place import Place
from tests.bench.process import CannotMeasure, run
from tests.bench.pulls.peers import open_registry, registry
from tests.e2e.busybox import push

ROUNDS = 3
LAYERS, LAYER_SIZE = 4, 256 << 20
LARGE = 10 << 30
REPOSITORY = "library/mirrored"

SPEED = Bar(
    name="mirror of 1 GiB",
    unit="MB/s",
    must=0.9,
    aim=1.2,
    compared=Compared.RATIO,
    peer="skopeo copy --all",
    at_least=True,
)
AGAIN = Bar(name="second mirror of 1 GiB", unit="ms", must=100, aim=100)
AGAIN_BYTES = Bar(name="bytes of a second mirror", unit="bytes", must=0, aim=0)
MEMORY = Bar(name="memory while a layer of 10 GiB is mirrored", unit="MB", must=80, aim=80)


async def mirrors(place: Place) -> Sequence[Result]:
    """Copy an image alternately with both programs, each time into a new registry."""
    for_push = (Layer(blob, blob) for blob in (os.urandom(LAYER_SIZE) for _ in range(LAYERS)))
    await push(place.image(REPOSITORY), *for_push, authorization=place.login["Authorization"])
    rounds, again = [], list[Figures]()
    async with open_registry(place) as source:
        image = f"{URL(source).authority}/{REPOSITORY}:latest"
        for _ in range(ROUNDS):
            ours, figures = await _copied(place, image)
            peer = await _copied_by_skopeo(place, image)
            rounds.append(Round(LAYERS * LAYER_SIZE / ours / 1e6, LAYERS * LAYER_SIZE / peer / 1e6))
            again.append(figures)
    return [
        judge(SPEED, rounds),
        judge(AGAIN, [Round(1000 * each.second) for each in again]),
        judge(AGAIN_BYTES, [Round(each.sent_again) for each in again]),
        judge(MEMORY, [Round((await _large()).memory)]),
    ]


async def _copied(place: Place, image: str) -> tuple[float, Figures]:
    async with AsyncExitStack() as opened:
        target = await _new_target(place, opened)
        output = await run(
            sys.executable, "-m", "tests.bench.builds.copying", image, f"{target}/copies/ours:1", within=300
        )
    figures = msgspec.json.decode(output, type=Figures)
    return figures.first, figures


async def _copied_by_skopeo(place: Place, image: str) -> float:
    async with AsyncExitStack() as opened:
        target = await _new_target(place, opened)
        insecure = "--src-tls-verify=false", "--dest-tls-verify=false", "--src-no-creds", "--dest-no-creds"
        started = time.monotonic()
        images = f"docker://{image}", f"docker://{target}/copies/peer:1"
        await run("skopeo", "copy", "--all", *insecure, *images, within=300)
        return time.monotonic() - started


async def _new_target(place: Place, opened: AsyncExitStack) -> str:
    folder = Path(opened.enter_context(TemporaryDirectory(dir=place.home, prefix="target-")))
    return URL(await opened.enter_async_context(registry(folder, storage=folder / "data"))).authority


async def _large() -> Figures:
    """Copy a layer of `LARGE` bytes, which no disk stores."""
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.builds.streams", str(LARGE), stdout=pipe
    )
    try:
        line = await asyncio.wait_for(server.stdout.readline(), 120) if server.stdout else b""
        if not (address := line.decode().strip()):
            raise CannotMeasure("the source of a large layer does not start")
        output = await run(
            sys.executable, "-m", "tests.bench.builds.copying", f"{address}/source:1", f"{address}/target:1", within=600
        )
    finally:
        server.terminate()
        await server.wait()
    return msgspec.json.decode(output, type=Figures)
