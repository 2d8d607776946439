"""The time until `wave --await` returns for a build of one second: the client polls at once, and then every 10 s."""

import json
import time
import uuid
from base64 import b64encode
from datetime import timedelta
from statistics import median

from tests.bench.bar import Bar, Result, Round, judge
from tests.bench.place import Place
from tests.bench.process import CannotMeasure
from tests.conformance.clients.wave_cli import Output, WaveCli
from tests.conformance.clients.wire import Clock

ROUNDS = 3
BUILDS = 5  # in a round
SECONDS = 1.0  # that a build takes by its record
_LIMIT = timedelta(minutes=2)

AWAITED = Bar(name="build of 1 s, until the CLI's --await returns, p50", unit="ms", must=1500, aim=1200)


async def awaited_build(place: Place) -> list[Result]:
    """Measure a build with a step that sleeps for what a build without it needs less than one second."""
    await _awaited(place, 0)
    sleep = max(0.0, SECONDS - median([await _recorded(place) for _ in range(BUILDS)]))
    return [
        judge(AWAITED, [Round(median([await _awaited(place, sleep) for _ in range(BUILDS)])) for _ in range(ROUNDS)])
    ]


async def _awaited(place: Place, sleep: float) -> float:
    """Return the milliseconds of a run of the client."""
    started = time.perf_counter()
    ran = await WaveCli(place.gateway, Clock(pace=1)).run(_request(place, sleep), Output.JSON, wait=_LIMIT)
    elapsed = (time.perf_counter() - started) * 1000
    if ran.code or not json.loads(ran.stdout)["succeeded"]:
        raise CannotMeasure(f"the build failed: {ran.stderr}")
    return elapsed


async def _recorded(place: Place) -> float:
    """Return the seconds that a build without the sleep takes, by its record."""
    ran = await WaveCli(place.gateway, Clock(pace=1)).run(_request(place, 0), Output.JSON, wait=_LIMIT)
    async with place.http.get(f"{place.gateway}/v1alpha1/builds/{json.loads(ran.stdout)['buildId']}/status") as status:
        return float((await status.json())["duration"])


def _request(place: Place, sleep: float) -> dict[str, object]:
    recipe = f"FROM {place.image()}\nRUN sleep {sleep:.3f}; echo {uuid.uuid4().hex} > /unique.txt\n"
    flags = {"dryRun": False, "freeze": False, "mirror": False}
    return flags | {"containerFile": b64encode(recipe.encode()).decode()}
