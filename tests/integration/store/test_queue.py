"""The line that builds stand in, and how they leave it: one suite for the store in memory and the one in Redis."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from swell.errors import TooManyRequests
from swell.store.builds import Builds, CancelState, RedisBuilds
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import NO_ATTEMPT, BuildResult, Reason, Submission

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
CID = "c44968632f89dd6c"
QUEUE_LIMIT = 20
CANCELLED = BuildResult(
    succeeded=False, exit_status=-1, started=NOON, finished=NOON, reason=Reason.CANCELLED, attempt=NO_ATTEMPT
)
OK = BuildResult(succeeded=True, exit_status=0, started=NOON, finished=NOON + timedelta(seconds=2))


@pytest.fixture(params=["memory", "redis"])
def builds(request: pytest.FixtureRequest, redis: Redis) -> Builds:
    return MemoryBuilds(QUEUE_LIMIT) if request.param == "memory" else RedisBuilds(redis, queue_limit=QUEUE_LIMIT)


def recipe(number: int, client: str = "ada") -> Submission:
    return Submission(
        container_id=f"{number:016x}",
        target_image=f"registry.example.com/team/builds:{client}-{number}",
        containerfile="FROM alpine\n",
        platform="linux/amd64",
        created=NOON,
        client=client,
    )


async def submit(builds: Builds, count: int, client: str = "ada", first: int = 0) -> list[str]:
    return [(await builds.submit(recipe(first + number, client)))[0] for number in range(count)]


async def leave(
    builds: Builds, build_id: str, request_id: str = "", user: str = "", all_requests: bool = False
) -> tuple[CancelState, int]:
    done = await builds.cancel(build_id, CANCELLED, request_id=request_id, user=user, all_requests=all_requests)
    return done.state, done.others


async def test_a_client_has_its_share_under_way_and_no_more(builds: Builds) -> None:
    """First come, first served; the next one goes when one of them has ended."""
    ids = await submit(builds, 4)

    assert await builds.release("ada", 2) == ids[:2]
    assert await builds.release("ada", 2) == []
    await builds.finish(ids[0], OK)
    assert await builds.release("ada", 2) == [ids[2]]


async def test_the_queue_of_one_client_does_not_delay_another_client(builds: Builds) -> None:
    """Each client has its own queue."""
    await submit(builds, QUEUE_LIMIT, "ada")
    await builds.release("ada", 2)
    (theirs,) = await submit(builds, 1, "bob", first=1000)

    assert await builds.release("bob", 2) == [theirs]
    assert await builds.position(theirs) == 3  # behind the two that went before it, not behind all


async def test_releasing_at_once_gives_no_client_more(builds: Builds) -> None:
    """Every gateway hears that a build has ended."""
    await submit(builds, 10)

    released = await asyncio.gather(*(builds.release("ada", 3) for _ in range(20)))

    assert max(map(len, released)) <= 3
    assert sum(map(len, released)) == 3


async def test_a_full_line_takes_no_more(builds: Builds) -> None:
    """The error says when to retry; no other client is refused, and the refused build leaves no record."""
    await submit(builds, QUEUE_LIMIT)
    with pytest.raises(TooManyRequests) as caught:
        await builds.submit(recipe(99))

    assert caught.value.retry_after
    assert await builds.latest(recipe(99).target_image) is None
    await submit(builds, 1, "bob", first=1000)
    await builds.release("ada", 1)
    await builds.submit(recipe(99))


async def test_clients_with_a_line_are_found(builds: Builds) -> None:
    """The dispatcher reads them; a client whose builds are all under way is not one."""
    await submit(builds, 2, "ada")
    await submit(builds, 1, "bob", first=10)
    await builds.release("bob", 2)

    assert await builds.waiting() == ["ada"]


async def test_whose_build_has_ended_is_found_among_any_number_of_clients(redis: Redis) -> None:
    """Not by chance: a place that is free is taken at once. Redis alone, for memory looks at all of them."""
    builds = RedisBuilds(redis)
    for number in range(300):
        await submit(builds, 2, f"client-{number}", first=2 * number)
    (first,) = await builds.release("client-7", 1)
    await builds.finish(first, OK)

    assert "client-7" in await builds.waiting()
    assert len(await builds.waiting()) <= 101


async def test_a_build_has_a_position_until_a_builder_starts_it(builds: Builds) -> None:
    """Position 1 is the build that starts next."""
    ids = await submit(builds, 3)
    await builds.release("ada", 1)

    assert [await builds.position(each) for each in ids] == [1, 2, 3]
    assert await builds.begin(ids[0])
    assert [await builds.position(each) for each in ids] == [None, 1, 2]
    await builds.finish(ids[0], OK)
    assert await builds.position(ids[0]) is None
    assert await builds.position("bd-0_1") is None


async def test_the_last_one_who_leaves_cancels(builds: Builds) -> None:
    """Others only leave."""
    (build_id,) = await submit(builds, 1)
    for request, user in (("r1", "ada"), ("r2", "bob"), ("r3", "")):
        assert await builds.add_interest(build_id, request, user)

    assert await leave(builds, build_id, "r1") == (CancelState.STILL_NEEDED, 2)
    assert await leave(builds, build_id, user="bob") == (CancelState.STILL_NEEDED, 1)
    build = await builds.get(build_id)
    assert build and not build.is_cancelled
    assert await leave(builds, build_id, "r3") == (CancelState.DEQUEUED, 0)


async def test_cancelling_again_is_no_error_and_removes_no_other_interest(builds: Builds) -> None:
    """A client whose answer was lost asks again."""
    (build_id,) = await submit(builds, 1)
    await builds.add_interest(build_id, "r1", "")
    await builds.add_interest(build_id, "r2", "")

    assert await leave(builds, build_id, "r1") == await leave(builds, build_id, "r1") == (CancelState.STILL_NEEDED, 1)


@pytest.mark.parametrize("stranger", [{"request_id": "r9"}, {"user": "bob"}, {"user": ""}, {}])
async def test_a_stranger_cancels_nothing(builds: Builds, stranger: dict[str, str]) -> None:
    """An anonymous client cannot cancel the requests of other anonymous clients."""
    (build_id,) = await submit(builds, 1)
    await builds.add_interest(build_id, "r1", "ada")
    await builds.add_interest(build_id, "r2", "")

    assert await leave(builds, build_id, **stranger) == (CancelState.REFUSED, 2)  # type: ignore[arg-type]
    assert await builds.position(build_id) == 1


async def test_the_operator_withdraws_all_requests(builds: Builds) -> None:
    """No interest remains."""
    (build_id,) = await submit(builds, 1)
    await builds.add_interest(build_id, "r1", "ada")

    assert await leave(builds, build_id, all_requests=True) == (CancelState.DEQUEUED, 0)


@pytest.mark.parametrize("released", [True, False])
async def test_a_build_that_has_not_begun_ends_in_the_same_moment(builds: Builds, released: bool) -> None:
    """It frees its place, it is not published any more, and a builder that has its job finds it ended."""
    first, second = await submit(builds, 2)
    if released:
        await builds.release("ada", 1)
    await builds.add_interest(first, "r1", "")

    assert await leave(builds, first, "r1") == (CancelState.DEQUEUED, 0)

    build = await builds.get(first)
    assert build and build.result == CANCELLED and build.is_cancelled
    assert await builds.unpublished(timedelta(0)) == []
    assert await builds.release("ada", 1) == [second]


async def test_a_build_that_has_begun_is_for_its_builder_to_end(builds: Builds) -> None:
    """Another builder that is given the job after a crash sees it as well."""
    (build_id,) = await submit(builds, 1)
    await builds.release("ada", 1)
    await builds.add_interest(build_id, "r1", "")
    assert await builds.begin(build_id) == 1

    assert await leave(builds, build_id, "r1") == (CancelState.STOPPING, 0)

    build = await builds.get(build_id)
    assert build and build.result is None and build.is_cancelled
    assert not await builds.add_interest(build_id, "r2", "")
    assert await builds.finish(build_id, CANCELLED) == CANCELLED


async def test_cancelling_an_ended_build_changes_nothing(builds: Builds) -> None:
    """Its result is final."""
    (build_id,) = await submit(builds, 1)
    await builds.add_interest(build_id, "r1", "")
    await builds.finish(build_id, OK)

    assert await leave(builds, build_id, "r1") == (CancelState.ENDED, 0)
    assert await leave(builds, "bd-0_1", "r1") == (CancelState.UNKNOWN, 0)
    assert await builds.add_interest(build_id, "r2", "")


async def test_cancelling_and_beginning_at_once_end_in_one_of_both(builds: Builds) -> None:
    """Never in a build that runs and has ended."""
    for build_id in await submit(builds, 10):
        await builds.add_interest(build_id, "r1", "")
        attempt, (left, _) = await asyncio.gather(builds.begin(build_id), leave(builds, build_id, "r1"))
        build = await builds.get(build_id)

        assert attempt == 1
        assert build and build.is_cancelled
        assert left is (CancelState.DEQUEUED if build.result else CancelState.STOPPING)


async def test_builds_of_a_container_are_paged_newest_first(builds: Builds) -> None:
    """The cursor is the number of a build."""
    last: str | None = None
    for _ in range(5):
        last, _new = await builds.submit(recipe(1), instead_of=last)

    async def page(before: int | None, most: int) -> list[str]:
        return [build.id.rpartition("_")[2] for build in await builds.page(f"{1:016x}", before=before, limit=most)]

    assert await page(None, 2) == ["5", "4"]
    assert await page(4, 2) == ["3", "2"]
    assert await page(2, 2) == ["1"]
    assert await page(99, 2) == ["5", "4"]
    assert await page(1, 2) == await page(0, 2) == []
    assert await builds.page("0" * 16, before=None, limit=5) == []
