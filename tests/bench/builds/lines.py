"""The cost of many log lines for a build, beside bare buildctl with the same lines."""

import uuid
from base64 import b64encode
from statistics import median

from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.builds.bare_buildkit import open_buildctl
from tests.bench.builds.builds import BuildEvents, build_ours, build_with_bare
from tests.bench.place import Place
from tests.bench.process import CannotMeasure

ROUNDS = 3
BUILDS = 3  # in a round, alternately of Swell and of the peer
LINES = 400_000

COST = Bar(
    name="build with 400,000 log lines, p50",
    unit="ms",
    must=1.1,
    aim=1.1,
    compared=Compared.RATIO,
    peer="buildctl build --push, warm daemon",
)


async def log_lines(place: Place) -> list[Result]:
    """Measure one RUN with many lines. The end is the published event, so the whole log is stored."""
    events = BuildEvents()
    await events.listen(place)
    await _check(place, events)
    home, auth_file = place.home / "buildkit-lines", place.stack.env["SWELL_REGISTRY_AUTH_FILE"]
    async with open_buildctl(home, place.stack.registry.address, auth_file) as bare:
        await build_with_bare(place, bare, _recipe(place))
        rounds = []
        for _ in range(ROUNDS):
            pairs = []
            for _ in range(BUILDS):
                theirs = await build_with_bare(place, bare, _recipe(place))
                pairs.append(((await build_ours(place, events, _recipe(place))).pushed, theirs))
            rounds.append(Round(median(ours for ours, _ in pairs), median(theirs for _, theirs in pairs)))
    return [judge(COST, rounds)]


async def _check(place: Place, events: BuildEvents) -> None:
    """Raise `CannotMeasure` unless all lines are in the log; the build also warms up the daemon."""
    build_id = (await place.submit(containerFile=b64encode(_recipe(place).encode()).decode()))["buildId"]
    await events.end(build_id)
    log = await place.get(f"{place.gateway}/v1alpha1/builds/{build_id}/logs")
    if (lines := log.count(b"\n")) < LINES:
        raise CannotMeasure(f"the log of {LINES} lines has {lines}")


def _recipe(place: Place) -> str:
    """Return a container file that was not built before."""
    return f"FROM {place.image()}\nRUN seq {LINES} && echo {uuid.uuid4().hex}\n"
