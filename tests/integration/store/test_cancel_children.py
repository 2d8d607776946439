"""Builds that others are made of, and who wants them: one suite for the store in memory and the one in Redis."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from swell.errors import Unavailable
from swell.store.builds import Builds, CancelOutcome, CancelState, RedisBuilds
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import NO_ATTEMPT, BuildResult, Child, Reason, Submission

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PLATFORMS = ("linux/amd64", "linux/arm64")
CANCELLED = BuildResult(
    succeeded=False, exit_status=-1, started=NOON, finished=NOON, reason=Reason.CANCELLED, attempt=NO_ATTEMPT
)
OK = BuildResult(succeeded=True, exit_status=0, started=NOON, finished=NOON + timedelta(seconds=2))
NO_FIELDS: dict[str, Any] = {"request_id": "", "user": "", "all_requests": False}


@pytest.fixture(params=["memory", "redis"])
def builds(request: pytest.FixtureRequest, redis: Redis) -> Builds:
    return MemoryBuilds() if request.param == "memory" else RedisBuilds(redis)


def recipe(number: int, platform: str, children: tuple[Child, ...] = ()) -> Submission:
    return Submission(
        container_id=f"{number:016x}",
        target_image=f"registry.example.com/team/builds:{number}",
        containerfile="FROM alpine\n",
        platform=platform,
        created=NOON,
        client="ada",
        children=children,
    )


async def of_one(builds: Builds, number: int, platform: str = "linux/amd64") -> str:
    """A build for one platform without interest of a client."""
    return (await builds.submit(recipe(number, platform)))[0]


async def of_several(builds: Builds, number: int, *children: str | None, request: str = "r1") -> str:
    """A build that *request* wants, made of *children*; one that is None was there already."""
    built_children = tuple(
        Child(platform=platform, target_image=f"registry.example.com/team/builds:{child}", build_id=child)
        for platform, child in zip(PLATFORMS, children, strict=True)
    )
    build_id, _ = await builds.submit(recipe(number, ",".join(PLATFORMS), built_children))
    assert await builds.add_interest(build_id, request, "")
    return build_id


async def leave(builds: Builds, build_id: str, **fields: Any) -> CancelOutcome:
    return await builds.cancel(build_id, CANCELLED, **NO_FIELDS | fields)


async def is_active(builds: Builds, build_id: str) -> bool:
    build = await builds.get(build_id)
    assert build
    return build.is_active


async def test_children_go_with_the_last_one_who_wants_the_whole(builds: Builds) -> None:
    """Not before; one that has begun is for its builder to end, the other has ended in the same moment."""
    amd64, arm64 = await of_one(builds, 1), await of_one(builds, 2)
    whole = await of_several(builds, 3, amd64, arm64)
    await builds.add_interest(whole, "r2", "")
    await builds.begin(amd64)

    assert await leave(builds, whole, request_id="r1") == CancelOutcome(CancelState.STILL_NEEDED, 1)
    assert await is_active(builds, amd64) and await is_active(builds, arm64)
    gone = await leave(builds, whole, request_id="r2")

    assert gone == CancelOutcome(
        CancelState.DEQUEUED, 0, ((amd64, CancelState.STOPPING), (arm64, CancelState.DEQUEUED))
    )
    begun, waited = await builds.get(amd64), await builds.get(arm64)
    assert begun and begun.is_cancelled and begun.result is None
    assert waited and waited.is_cancelled and waited.result == CANCELLED
    assert await builds.position(arm64) is None


async def test_a_child_with_other_interest_goes_on(builds: Builds) -> None:
    """Another request wants it, alone or as a part of another build under way."""
    alone, shared = await of_one(builds, 1), await of_one(builds, 2)
    await builds.add_interest(alone, "r9", "ada")
    whole = await of_several(builds, 3, alone, shared)
    other = await of_several(builds, 4, None, shared, request="r2")

    assert await leave(builds, whole, request_id="r1") == CancelOutcome(CancelState.DEQUEUED)

    assert await is_active(builds, alone) and await is_active(builds, shared)
    assert await leave(builds, other, request_id="r2") == CancelOutcome(
        CancelState.DEQUEUED, 0, ((shared, CancelState.DEQUEUED),)
    )
    assert await leave(builds, alone, user="ada") == CancelOutcome(CancelState.DEQUEUED)


async def test_withdrawing_from_a_child_does_not_cancel_it_for_its_parent(builds: Builds) -> None:
    """The parent is interest in the child."""
    child = await of_one(builds, 1)
    await builds.add_interest(child, "r9", "ada")
    whole = await of_several(builds, 3, child, None)

    assert await leave(builds, child, request_id="r9") == CancelOutcome(CancelState.STILL_NEEDED, 1)

    assert await is_active(builds, child)
    assert await leave(builds, whole, request_id="r1") == CancelOutcome(
        CancelState.DEQUEUED, 0, ((child, CancelState.DEQUEUED),)
    )


@pytest.mark.parametrize("name", ["request_id", "user"])
async def test_no_client_cancels_a_child_in_the_name_of_the_whole(builds: Builds, name: str) -> None:
    """The id of a build is no secret, as that of a request is."""
    child = await of_one(builds, 1)
    whole = await of_several(builds, 3, child, None)

    assert await leave(builds, child, **{name: whole}) == CancelOutcome(CancelState.REFUSED, 1)
    assert await is_active(builds, child)


async def test_the_operator_takes_out_a_whole_and_what_it_alone_needs(builds: Builds) -> None:
    """What others want of it stays theirs."""
    alone, shared = await of_one(builds, 1), await of_one(builds, 2)
    await builds.add_interest(shared, "r9", "")
    whole = await of_several(builds, 3, alone, shared)

    gone = await leave(builds, whole, all_requests=True)

    assert gone == CancelOutcome(CancelState.DEQUEUED, 0, ((alone, CancelState.DEQUEUED),))
    assert await is_active(builds, shared)


async def test_a_whole_that_has_ended_wants_nothing(builds: Builds) -> None:
    """When one platform has failed, the other is its requester's alone."""
    child = await of_one(builds, 1)
    await builds.add_interest(child, "r9", "")
    whole = await of_several(builds, 3, child, None)
    await builds.finish(whole, CANCELLED)

    assert await leave(builds, child, request_id="r9") == CancelOutcome(CancelState.DEQUEUED)


async def test_cancelling_a_parent_keeps_the_result_of_an_ended_child(builds: Builds) -> None:
    """Only active children are cancelled."""
    child, late = await of_one(builds, 1), await of_one(builds, 2)
    whole = await of_several(builds, 3, child, late)
    await builds.finish(child, OK)

    assert await leave(builds, whole, request_id="r1") == CancelOutcome(
        CancelState.DEQUEUED, 0, ((late, CancelState.DEQUEUED),)
    )
    build = await builds.get(child)
    assert build and build.result == OK and not build.is_cancelled


async def test_nothing_begins_that_needs_what_is_being_cancelled(builds: Builds) -> None:
    """It would fail; a new request gets a child that is built."""
    child = await of_one(builds, 1)
    whole = await of_several(builds, 3, child, None)
    await builds.begin(child)
    await leave(builds, whole, request_id="r1")

    with pytest.raises(Unavailable, match=child):
        await of_several(builds, 4, child, None)
    assert await builds.latest(recipe(4, "").target_image) is None


async def test_adopting_a_child_and_leaving_it_at_once_end_in_one_of_both(builds: Builds) -> None:
    """Never in a whole that waits for a child that is cancelled."""
    for number in range(0, 50, 5):
        child = await of_one(builds, number)
        first = await of_several(builds, number + 1, child, None)
        adopted, gone = await asyncio.gather(
            of_several(builds, number + 2, child, None, request="r2"),
            leave(builds, first, request_id="r1"),
            return_exceptions=True,
        )

        assert isinstance(gone, CancelOutcome)
        assert await is_active(builds, child) is isinstance(adopted, str)
