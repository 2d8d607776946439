"""Counting: each event once, on its own day."""

from datetime import UTC, datetime

import pytest

from metrics.adapters.counters import MemoryCounters
from metrics.count import Counting, Metric
from swell.jobs.messages import BuildDone, ImagesPulled

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MONDAY, TUESDAY = "2026-11-23", "2026-11-24"


@pytest.fixture
def counting() -> Counting:
    return Counting(MemoryCounters())


def build(build_id: str, finished: datetime = NOON, *, succeeded: bool = True) -> BuildDone:
    return BuildDone(id=build_id, target_image="r/i:t", platform="linux/amd64", succeeded=succeeded, finished=finished)


async def test_a_build_counts_on_the_day_it_ended(counting: Counting) -> None:
    """In UTC, whenever the event arrives; a failed build is a build as well."""
    await counting.build_done(build("bd-1_1"), 1)
    await counting.build_done(build("bd-2_1", succeeded=False), 1)
    await counting.build_done(build("bd-3_1", datetime.fromisoformat("2026-11-23T23:59:59.999Z")), 1)
    await counting.build_done(build("bd-4_1", datetime.fromisoformat("2026-11-24T00:00:00Z")), 1)

    assert [await counting.total(Metric.BUILDS, day) for day in (MONDAY, TUESDAY, None)] == [3, 1, 4]


async def test_pulls_count_by_their_number(counting: Counting) -> None:
    await counting.images_pulled(ImagesPulled(id="a", day=MONDAY, count=40), 1)
    await counting.images_pulled(ImagesPulled(id="b", day=MONDAY, count=2), 1)

    assert await counting.total(Metric.PULLS, MONDAY) == 42
    assert await counting.total(Metric.BUILDS, MONDAY) == 0


async def test_an_event_that_comes_again_counts_once(counting: Counting) -> None:
    """A queue gives a message again when it did not hear that it was taken."""
    for attempt in (1, 2, 3):
        await counting.build_done(build("bd-1_1"), attempt)
        await counting.images_pulled(ImagesPulled(id="a", day=MONDAY, count=7), attempt)

    assert await counting.total(Metric.BUILDS, None) == 1
    assert await counting.total(Metric.PULLS, None) == 7
