"""Counting: each event once, on its own day, for its organisation and its architecture."""

from datetime import UTC, datetime

import msgspec
import pytest

from metrics.adapters.counters import MemoryCounters
from metrics.count import Counting, of_scan
from metrics.domain.usage import Metric, Table, Usage
from swell.jobs.messages import BuildDone, ImagesPulled, ScanDone

MONDAY, TUESDAY = "2026-11-23", "2026-11-24"
PULLS = Table(Metric.PULLS)


@pytest.fixture
def counting() -> Counting:
    return Counting(MemoryCounters())


def build(
    build_id: str, finished: str = "2026-11-23T12:00:00Z", platform: str = "linux/amd64", *, succeeded: bool = True
) -> BuildDone:
    ended = datetime.fromisoformat(finished)
    return BuildDone(id=build_id, target_image="r/i:t", platform=platform, succeeded=succeeded, finished=ended)


def pulls(
    event_id: str,
    count: int = 1,
    day: str = MONDAY,
    architecture: str = "amd64",
    organisation: str = "",
    *,
    fusion: bool = False,
) -> ImagesPulled:
    return ImagesPulled(
        id=event_id, count=count, day=day, architecture=architecture, organisation=organisation, fusion=fusion
    )


async def pulled(counting: Counting, *events: ImagesPulled) -> None:
    for event in events:
        await counting.images_pulled(event, 1)


async def count(counting: Counting, table: Table, organisation: str = "") -> int:
    return (await counting.usage(table, organisation)).count


async def test_a_build_counts_on_the_day_it_ended(counting: Counting) -> None:
    """In UTC, wherever the builder is and whenever the event arrives; a failed build is a build as well."""
    await counting.build_done(build("bd-1_1"), 1)
    await counting.build_done(build("bd-2_1", succeeded=False), 1)
    await counting.build_done(build("bd-3_1", "2026-11-23T23:59:59.999Z"), 1)
    await counting.build_done(build("bd-4_1", "2026-11-24T00:00:00Z"), 1)
    await counting.build_done(build("bd-5_1", "2026-11-24T00:30:00+01:00"), 1)

    counts = [await count(counting, Table(Metric.BUILDS, day)) for day in (MONDAY, TUESDAY, None)]
    assert counts == [4, 1, 5]


async def test_an_index_is_no_build(counting: Counting) -> None:
    """Those of its platforms are, each for its own architecture."""
    for build_id, platform in (("a", "linux/amd64"), ("b", "linux/arm64"), ("c", "linux/amd64,linux/arm64")):
        await counting.build_done(build(build_id, platform=platform), 1)

    assert [await count(counting, Table(Metric.BUILDS, None, each)) for each in (None, "amd64", "arm64")] == [2, 1, 1]


async def test_mirrors_are_counted_apart_from_builds(counting: Counting) -> None:
    """Their ids begin with `mr-`. They have no architecture, because all platforms are copied."""
    await counting.build_done(build("mr-0123456789ab", platform=""), 1)

    assert [await count(counting, Table(each)) for each in (Metric.MIRRORS, Metric.BUILDS)] == [1, 0]


async def test_a_build_that_was_cancelled_before_it_began_counts_nowhere(counting: Counting) -> None:
    """It has used nothing; one that was cancelled while it ran is a build like any other."""
    await counting.build_done(msgspec.structs.replace(build("bd-1_1", succeeded=False), begun=False), 1)
    await counting.build_done(build("bd-2_1", succeeded=False), 1)

    assert await count(counting, Table(Metric.BUILDS)) == 1


async def test_an_event_counts_all_its_pulls(counting: Counting) -> None:
    """One gateway reports many pulls in one event."""
    await pulled(counting, pulls("a", 40), pulls("b", 2))

    assert await count(counting, PULLS._replace(day=MONDAY)) == 42
    assert await count(counting, Table(Metric.BUILDS, MONDAY)) == 0


async def test_a_pull_with_fusion_counts_as_pull_and_fusion(counting: Counting) -> None:
    """Fusion pulls are a part of all pulls."""
    await pulled(counting, pulls("a", 3, fusion=True), pulls("b", 4))

    assert await count(counting, PULLS) == 7
    assert await count(counting, Table(Metric.FUSION)) == 3


async def test_an_event_that_comes_again_counts_once(counting: Counting) -> None:
    """A queue gives a message again when it did not hear that it was taken."""
    for attempt in (1, 2, 3):
        await counting.build_done(build("bd-1_1"), attempt)
        await counting.images_pulled(pulls("a", 7), attempt)

    assert await count(counting, Table(Metric.BUILDS)) == 1
    assert await count(counting, PULLS) == 7


async def test_a_build_and_a_pull_with_the_same_id_both_count(counting: Counting) -> None:
    """Ids are unique for each subject only."""
    await counting.build_done(build("a"), 1)
    await pulled(counting, pulls("a"))

    assert [await count(counting, Table(metric)) for metric in (Metric.BUILDS, Metric.PULLS)] == [1, 1]


async def test_anonymous_use_counts_for_no_organisation(counting: Counting) -> None:
    """On a day and ever alike, so that the days add up to the whole."""
    await pulled(
        counting, pulls("a", 3, organisation="acme.org"), pulls("b", 1), pulls("c", 2, TUESDAY, organisation="lab.edu")
    )

    assert await counting.usage(PULLS) == Usage(6, {"acme.org": 3, "lab.edu": 2})
    assert await counting.usage(PULLS._replace(day=MONDAY)) == Usage(4, {"acme.org": 3})


async def test_an_organisation_receives_its_own_part(counting: Counting) -> None:
    """An unknown one has none; that is a result, no error."""
    await pulled(counting, pulls("a", 3, organisation="acme.org"), pulls("b", 9, organisation="lab.edu"))

    assert await counting.usage(PULLS, "acme.org") == Usage(3, {"acme.org": 3})
    assert await counting.usage(PULLS._replace(day=TUESDAY), "acme.org") == Usage(0, {"acme.org": 0})
    assert await counting.usage(PULLS, "none.io") == Usage(0, {"none.io": 0})


@pytest.mark.parametrize(("name", "architecture"), [("amd64", "amd64"), ("x86_64", "amd64"), ("aarch64", "arm64")])
async def test_a_use_counts_for_its_architecture(counting: Counting, name: str, architecture: str) -> None:
    """Reports can be filtered by architecture."""
    await pulled(counting, pulls("a", 3, architecture=name, organisation="acme.org"))

    for day in (None, MONDAY):
        assert await counting.usage(Table(Metric.PULLS, day, architecture)) == Usage(3, {"acme.org": 3})


@pytest.mark.parametrize("architecture", ["arm", "riscv64", "other", ""])
async def test_other_architectures_count_in_the_whole(counting: Counting, architecture: str) -> None:
    """Once, for the day, the organisation and all; people can ask for two architectures only."""
    await pulled(counting, pulls("a", 3, architecture=architecture, organisation="acme.org"))

    for day in (None, MONDAY):
        assert await counting.usage(Table(Metric.PULLS, day)) == Usage(3, {"acme.org": 3})
        for asked in ("amd64", "arm64"):
            assert await counting.usage(Table(Metric.PULLS, day, asked)) == Usage(0, {})


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/arm64/v8"])
async def test_a_build_counts_for_the_architecture_of_its_platform(counting: Counting, platform: str) -> None:
    """The variant does not matter."""
    await counting.build_done(build("bd-1_1", platform=platform), 1)

    assert await count(counting, Table(Metric.BUILDS, MONDAY, "arm64")) == 1


def test_a_scan_counts_once_for_its_first_platform() -> None:
    """Also a failed one: it is work that the server did."""
    event = ScanDone(
        id="sc-1_1",
        image="quay.io/acme/tool:1",
        platform="linux/arm64,linux/amd64",
        succeeded=False,
        finished=datetime(2026, 11, 23, 23, 30, tzinfo=UTC),
        organisation="lab.example",
    )

    use = of_scan(event)

    assert (use.metrics, use.day, use.architecture) == ((Metric.SCANS,), "2026-11-23", "arm64")
    assert (use.organisation, use.event_id) == ("lab.example", "events.scan.done:sc-1_1")
