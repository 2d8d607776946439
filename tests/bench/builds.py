"""The duration of a build: until its first log line, until its end, and when the image exists already."""

import asyncio
import time
import uuid
from base64 import b64encode
from collections import defaultdict
from statistics import median

from msgspec import Struct
from nats.aio.msg import Msg

from swell.jobs.consume import subscribe
from swell.jobs.messages import BuildDone
from swell.store.logs import log_subject
from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.place import Place
from tests.bench.process import CannotMeasure

ROUNDS = 3
BUILDS = 10  # in a round, alternately of Swell and of the peer
CACHED = 100  # responses in a round
_PATIENCE = 30.0

FIRST_LINE = Bar(name="submit to first log line, p50", unit="ms", must=200, aim=80)
TRIVIAL = Bar(
    name="trivial build, request to pushed, p50",
    unit="ms",
    must=200,
    aim=80,
    compared=Compared.DIFFERENCE,
    peer="buildah build && buildah push",
)
KNOWN = Bar(name="cached-build answer, p50", unit="ms", must=10, aim=3)


class Times(Struct, frozen=True):
    """Milliseconds since the request was sent."""

    first_line: float
    pushed: float


class BuildEvents:
    """Receives the first log line and the end of builds."""

    def __init__(self) -> None:
        self.lines: dict[str, float] = {}
        self._ends: defaultdict[str, asyncio.Future[tuple[BuildDone, float]]] = defaultdict(
            asyncio.get_running_loop().create_future
        )

    async def listen(self, place: Place) -> None:
        await place.nats.client.subscribe(log_subject("*"), cb=self._line)
        await subscribe(place.nats, BuildDone, self._done)

    async def end(self, build_id: str) -> float:
        """Return when *build_id* ended, on the clock of `time.perf_counter`."""
        done, when = await asyncio.wait_for(self._ends[build_id], _PATIENCE)
        if not done.succeeded:
            raise CannotMeasure(f"the build {build_id} failed")
        return when

    async def _line(self, message: Msg) -> None:
        self.lines.setdefault(message.subject, time.perf_counter())

    def _done(self, event: BuildDone) -> None:
        if not (end := self._ends[event.id]).done():
            end.set_result((event, time.perf_counter()))


async def trivial_build(place: Place) -> list[Result]:
    """Measure one RUN on a warm base. The end is the published event, so log and record are stored."""
    ear = BuildEvents()
    await ear.listen(place)
    await _ours(place, ear)
    await _bare(place)
    first_lines, pushed = [], []
    for _ in range(ROUNDS):
        pairs = [(await _bare(place), await _ours(place, ear)) for _ in range(BUILDS)]
        first_lines.append(Round(median(times.first_line for _, times in pairs)))
        pushed.append(Round(median(times.pushed for _, times in pairs), median(bare for bare, _ in pairs)))
    return [judge(FIRST_LINE, first_lines), judge(TRIVIAL, pushed)]


async def cached_build(place: Place) -> list[Result]:
    """Measure a repeated request whose image is in the registry."""
    ear, recipe = BuildEvents(), _recipe(place)
    await ear.listen(place)
    await ear.end((await place.submit(containerFile=recipe))["buildId"])
    return [judge(KNOWN, [Round(await _cached(place, recipe)) for _ in range(ROUNDS)])]


async def _ours(place: Place, ear: BuildEvents) -> Times:
    started = time.perf_counter()
    build_id = (await place.submit(containerFile=_recipe(place)))["buildId"]
    ended = await ear.end(build_id)
    return Times(_ms(ear.lines[log_subject(build_id)] - started), _ms(ended - started))


async def _bare(place: Place) -> float:
    image = f"{place.stack.registry.address}/bare/build:{uuid.uuid4().hex}"
    started = time.perf_counter()
    await place.bare.build_and_push(image, _containerfile(place))
    return _ms(time.perf_counter() - started)


async def _cached(place: Place, recipe: str) -> float:
    answers = []
    for _ in range(CACHED):
        started = time.perf_counter()
        answer = await place.submit(containerFile=recipe)
        answers.append(_ms(time.perf_counter() - started))
        if not answer.get("cached"):
            raise CannotMeasure("the build was not taken from the registry")
    return median(answers)


def _containerfile(place: Place) -> str:
    """Return a container file that was not built before."""
    return f"FROM {place.image()}\nRUN echo {uuid.uuid4().hex} > /unique.txt\n"


def _recipe(place: Place) -> str:
    return b64encode(_containerfile(place).encode()).decode()


def _ms(seconds: float) -> float:
    return seconds * 1000
