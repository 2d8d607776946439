"""The duration of a `conda/direct` build whose packages are on the builder's disk already."""

import random
import time
import uuid
from base64 import b64encode
from pathlib import Path

from tests.bench.bar import Bar, Result, Round, judge
from tests.bench.builds.builds import BuildEvents
from tests.bench.place import Place
from tests.integration.builder.conda.channel import Channel, File, Made

ROUNDS = 3
SIZES = {"runtime": 30 << 20, "library": 8 << 20, "tool": 1 << 20}  # bytes of the one file of each package

DIRECT = Bar(name="conda-direct, 3 packages, request to pushed", unit="s", must=1, aim=0.5)


async def conda_direct(place: Place) -> list[Result]:
    """Each round requests the same packages under another name, and makes and pushes every layer again."""
    folder = place.channels / "bench"
    folder.mkdir(parents=True)
    Channel(folder, f"file://{folder}").add(*(_package(name, size) for name, size in SIZES.items()))
    ear = BuildEvents()
    await ear.listen(place)
    await _round(place, ear, folder)
    return [judge(DIRECT, [Round(await _round(place, ear, folder)) for _ in range(ROUNDS)])]


async def _round(place: Place, ear: BuildEvents, folder: Path) -> float:
    environment = f"name: {uuid.uuid4().hex}\nchannels: ['file://{folder}']\ndependencies: [{', '.join(SIZES)}]\n"
    packages = {
        "type": "CONDA",
        "environment": b64encode(environment.encode()).decode(),
        "condaOpts": {"baseImage": place.image(), "basePackages": ""},
    }
    repository = f"{place.stack.env['SWELL_BUILD_REPOSITORY']}/direct-{uuid.uuid4().hex}"
    for layer in (place.home / "stack/builder/conda/layers").iterdir():
        layer.unlink()
    started = time.perf_counter()
    answer = await place.submit(packages=packages, buildTemplate="conda/direct:v1", buildRepository=repository)
    return await ear.end(answer["buildId"]) - started


def _package(name: str, size: int) -> Made:
    """Return a package that compresses to about a third, as programs do; it is the same in every run."""
    pick = random.Random(name)  # noqa: S311  (no secret)
    words = [pick.randbytes(pick.randint(2, 12)) for _ in range(4096)]
    content = b"".join(pick.choices(words, k=size // 7))[:size]
    return Made(name, files={f"lib/lib{name}.so": File(content, mode=0o755)})
