"""The duration of a build: until its first log line, until its end, and when the image exists already."""

import asyncio
import os
import time
import uuid
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable
from statistics import median

from msgspec import Struct
from nats.aio.msg import Msg

from swell.jobs.consume import subscribe
from swell.jobs.messages import BuildDone
from swell.store.logs import log_subject
from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.builds.bare_buildkit import Buildctl, open_buildctl
from tests.bench.place import Place
from tests.bench.process import CannotMeasure

ROUNDS = 3
BUILDS = 10  # in a round, alternately of Swell and of the peer
CACHED = 100  # responses in a round
LARGE = 170 << 20  # bytes of a base image
SETTLING = 0.05  # seconds between two builds: what one leaves to do is not the other's
_TIME_LIMIT = 30.0

FIRST_LINE = Bar(name="submit to first log line, p50", unit="ms", must=100, aim=50)
_PEER = "buildctl build --push, warm daemon"
TRIVIAL = Bar(
    name="trivial build, request to pushed, p50",
    unit="ms",
    must=200,
    aim=60,
    compared=Compared.DIFFERENCE,
    peer=_PEER,
)
LARGE_BASE = Bar(
    name="the same, 170 MB base present, p50", unit="ms", must=1.25, aim=1.1, compared=Compared.RATIO, peer=_PEER
)
NINE_CACHED = Bar(name="ten steps, nine cached, p50", unit="ms", must=1.5, aim=1.3, compared=Compared.RATIO, peer=_PEER)
KNOWN = Bar(name="cached-build answer, p50", unit="ms", must=3, aim=1)


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
        done, when = await asyncio.wait_for(self._ends[build_id], _TIME_LIMIT)
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
    first_lines, pushed = await _measured(place, ear, lambda: containerfile(place))
    return [judge(FIRST_LINE, first_lines), judge(TRIVIAL, pushed)]


async def builds_on_layers(place: Place) -> list[Result]:
    """One RUN on a base of 170 MB, and ten RUNs of which the first nine were built before."""
    ear = BuildEvents()
    await ear.listen(place)
    large = place.image("library/large")
    await _push_large(place, large)
    _, on_large = await _measured(place, ear, lambda: containerfile(place, large))
    nine = "".join(f"RUN echo {number} > /{number}.txt\n" for number in range(9))
    _, cached = await _measured(place, ear, lambda: containerfile(place, before=nine))
    return [judge(LARGE_BASE, on_large), judge(NINE_CACHED, cached)]


async def _measured(place: Place, ear: BuildEvents, new: Callable[[], str]) -> tuple[list[Round], list[Round]]:
    """Rounds until the first line, and until the image is pushed, beside bare buildctl; both warmed up before."""
    async with open_buildctl(
        place.home / "buildkit", place.stack.registry.address, place.stack.env["SWELL_REGISTRY_AUTH_FILE"]
    ) as bare:
        await build_ours(place, ear, new())
        await build_with_bare(place, bare, new())
        first_lines, pushed = [], []
        for _ in range(ROUNDS):
            pairs = [
                (await build_with_bare(place, bare, new()), await build_ours(place, ear, new())) for _ in range(BUILDS)
            ]
            first_lines.append(Round(median(times.first_line for _, times in pairs)))
            pushed.append(Round(median(times.pushed for _, times in pairs), median(bare for bare, _ in pairs)))
    return first_lines, pushed


async def _push_large(place: Place, image: str) -> None:
    """Push *image*: busybox and 170 MB, of which a third cannot be compressed."""
    with (place.bare.context / "large").open("wb") as file:
        for _ in range(LARGE >> 20):
            file.write(os.urandom((1 << 20) // 3) + bytes((1 << 20) - (1 << 20) // 3))
    await place.bare.build_and_push(image, f"FROM {place.image()}\nADD large /\n")
    (place.bare.context / "large").unlink()


async def cached_build(place: Place) -> list[Result]:
    """Measure a repeated request whose image is in the registry."""
    ear, recipe = BuildEvents(), _recipe(place)
    await ear.listen(place)
    await ear.end((await place.submit(containerFile=recipe))["buildId"])
    return [judge(KNOWN, [Round(await _cached(place, recipe)) for _ in range(ROUNDS)])]


async def build_ours(place: Place, ear: BuildEvents, containerfile: str) -> Times:
    """Build *containerfile* with Swell; it must be a new one."""
    await asyncio.sleep(SETTLING)
    started = time.perf_counter()
    build_id = (await place.submit(containerFile=b64encode(containerfile.encode()).decode()))["buildId"]
    ended = await ear.end(build_id)
    return Times(_ms(ear.lines[log_subject(build_id)] - started), _ms(ended - started))


async def build_with_bare(place: Place, bare: Buildctl, containerfile: str) -> float:
    """Build *containerfile* with buildctl and push it; return milliseconds."""
    image = f"{place.stack.registry.address}/bare/build:{uuid.uuid4().hex}"
    await bare.prepare()
    await asyncio.sleep(SETTLING)
    started = time.perf_counter()
    await bare.build_and_push(image, containerfile)
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


def containerfile(place: Place, base: str = "", *, before: str = "") -> str:
    """Return a container file that was not built before."""
    return f"FROM {base or place.image()}\n{before}RUN echo {uuid.uuid4().hex} > /unique.txt\n"


def _recipe(place: Place) -> str:
    return b64encode(containerfile(place).encode()).decode()


def _ms(seconds: float) -> float:
    return seconds * 1000
