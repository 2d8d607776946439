"""Cancellations: who may cancel, what happens to the build, and which events are published."""

import pytest
from msgspec.structs import replace

from gateway.builds.cancel import Cancellations, CancelScope
from swell.errors import BuildEnded, NotFound, NotYours
from swell.jobs.messages import BuildDone
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import NO_ATTEMPT, Child, Reason, Submission
from tests.unit.gateway.doubles import NOON, ended

BUILD = "bd-c44968632f89dd6c_1"
MINE = CancelScope(request_id="r1")
RECIPE = Submission(
    container_id="c44968632f89dd6c",
    target_image="registry.example.com/team/builds:c44968632f89dd6c",
    containerfile="FROM alpine\n",
    platform="linux/amd64",
    organisation="lab.example",
    created=NOON,
)


class RecordedEvents:
    def __init__(self) -> None:
        self.published: list[BuildDone | str] = []

    async def cancelled(self, build_id: str) -> None:
        self.published.append(build_id)

    async def ended(self, event: BuildDone) -> None:
        self.published.append(event)


@pytest.fixture
def events() -> RecordedEvents:
    return RecordedEvents()


@pytest.fixture
async def cancellations(builds: MemoryBuilds, events: RecordedEvents) -> Cancellations:
    """One build waits; one request wants it."""
    await builds.submit(RECIPE)
    await builds.add_interest(BUILD, "r1", "ada")
    return Cancellations(builds, events, now=lambda: NOON)


async def test_a_build_that_waits_ends_before_it_begins(
    cancellations: Cancellations, builds: MemoryBuilds, events: RecordedEvents
) -> None:
    """Waiting clients get the event; it is not counted as a build."""
    done = await cancellations.cancel(BUILD, MINE)

    assert (done.cancelled, done.others) == (True, 0)
    build = await builds.get(BUILD)
    assert build and build.result
    assert (build.result.succeeded, build.result.reason, build.result.attempt) == (False, Reason.CANCELLED, NO_ATTEMPT)
    (event,) = events.published
    assert isinstance(event, BuildDone)
    assert (event.id, event.begun, event.organisation) == (BUILD, False, "lab.example")


async def test_a_build_under_way_is_ended_by_its_builder(
    cancellations: Cancellations, builds: MemoryBuilds, events: RecordedEvents
) -> None:
    """The builder stops the processes; the gateway only publishes the event."""
    await builds.begin(BUILD)

    assert (await cancellations.cancel(BUILD, CancelScope(user="ada"))).cancelled
    assert events.published == [BUILD]
    build = await builds.get(BUILD)
    assert build and build.result is None


async def test_a_build_that_others_want_goes_on(
    cancellations: Cancellations, builds: MemoryBuilds, events: RecordedEvents
) -> None:
    """One client cannot cancel the build of another one."""
    await builds.add_interest(BUILD, "r2", "bob")

    done = await cancellations.cancel(BUILD, MINE)

    assert (done.cancelled, done.others) == (False, 1)
    assert events.published == []


async def test_the_builds_of_its_platforms_go_with_a_build(
    cancellations: Cancellations, builds: MemoryBuilds, events: RecordedEvents
) -> None:
    """Each of them is stopped by its builder, or leaves the queue; a build that other requests need continues."""
    waiting, begun, shared = [await builds.submit(replace(RECIPE, target_image=f"r.io/x:{n}")) for n in range(3)]
    children = tuple(
        Child(platform="linux/arm64", target_image="", build_id=each) for each, _ in (waiting, begun, shared)
    )
    await builds.begin(begun[0])
    await builds.add_interest(shared[0], "r2", "bob")
    whole, _ = await builds.submit(replace(RECIPE, target_image="r.io/x:all", children=children))
    await builds.add_interest(whole, "r1", "ada")

    done = await cancellations.cancel(whole, MINE)

    assert (done.id, done.cancelled, done.others) == (whole, True, 0)
    assert [each if isinstance(each, str) else each.id for each in events.published] == [whole, waiting[0], begun[0]]
    assert begun[0] in events.published


async def test_a_build_that_has_ended_stays_ended(cancellations: Cancellations, builds: MemoryBuilds) -> None:
    """A result is never changed."""
    await builds.finish(BUILD, ended(succeeded=True))

    with pytest.raises(BuildEnded, match=BUILD):
        await cancellations.cancel(BUILD, MINE)


@pytest.mark.parametrize("scope", [CancelScope(), CancelScope(request_id="r2"), CancelScope(user="bob")])
async def test_requests_without_interest_are_refused(
    cancellations: Cancellations, events: RecordedEvents, scope: CancelScope
) -> None:
    """Only requests that are interested in the build may give it up."""
    with pytest.raises(NotYours):
        await cancellations.cancel(BUILD, scope)

    assert events.published == []


async def test_an_unknown_build_is_not_found(cancellations: Cancellations) -> None:
    """An id that never existed is an error, not a success."""
    with pytest.raises(NotFound, match="bd-0_1"):
        await cancellations.cancel("bd-0_1", CancelScope(all_requests=True))
