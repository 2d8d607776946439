"""The builds: one suite for the store in memory and the one in Redis."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs
from redis.asyncio import Redis

from swell.errors import BadRequest
from swell.oci.digest import Digest
from swell.store import keys
from swell.store.builds import Builds, RedisBuilds
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import BuildResult, Listing, ListingState, MirrorImage, Signing, SigningState, Submission

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
RECIPE = Submission(
    container_id="c44968632f89dd6c",
    target_image="registry.example.com/team/builds:c44968632f89dd6c",
    containerfile="FROM alpine\n",
    platform="linux/amd64",
    created=NOON,
)
OK = BuildResult(succeeded=True, exit_status=0, started=NOON, finished=NOON + timedelta(seconds=2))
FAILED = BuildResult(succeeded=False, exit_status=1, started=NOON, finished=NOON, message="no")


@pytest.fixture(params=["memory", "redis"])
def builds(request: pytest.FixtureRequest, redis: Redis) -> Builds:
    return MemoryBuilds() if request.param == "memory" else RedisBuilds(redis)


async def test_concurrent_submissions_register_one_build(builds: Builds) -> None:
    """Only one caller learns that the build is new."""
    answers = await asyncio.gather(*(builds.submit(RECIPE) for _ in range(100)))

    assert {build_id for build_id, _ in answers} == {"bd-c44968632f89dd6c_1"}
    assert sum(new for _, new in answers) == 1


async def test_a_mirror_has_the_id_that_was_submitted(builds: Builds) -> None:
    """It has no number, because the same request twice is two mirrors."""
    image = MirrorImage(source="quay.io/a/b:1", target="r.example/a/b:1", digest=Digest(f"sha256:{'a' * 64}"))
    mirror = structs.replace(RECIPE, container_id="mr-0123456789ab", target_image=image.target, mirror=(image,))

    assert await builds.submit(mirror) == ("mr-0123456789ab", True)

    build = await builds.get("mr-0123456789ab")
    assert build is not None and build.submission == mirror
    assert (await builds.submit(RECIPE))[0] == "bd-c44968632f89dd6c_1"


async def test_only_the_build_that_was_named_is_replaced(builds: Builds) -> None:
    """Two clients that both saw the first build fail start one second build, not two."""
    await builds.submit(RECIPE)
    second = await builds.submit(RECIPE, instead_of="bd-c44968632f89dd6c_1")
    again = await builds.submit(RECIPE, instead_of="bd-c44968632f89dd6c_1")

    assert second == ("bd-c44968632f89dd6c_2", True)
    assert again == ("bd-c44968632f89dd6c_2", False)


async def test_latest_returns_the_newest_build_of_an_image(builds: Builds) -> None:
    """Its target image is the index of builds."""
    assert await builds.latest(RECIPE.target_image) is None
    await builds.submit(RECIPE)
    await builds.submit(RECIPE, instead_of="bd-c44968632f89dd6c_1")

    latest = await builds.latest(RECIPE.target_image)

    assert latest is not None
    assert (latest.id, latest.submission, latest.result) == ("bd-c44968632f89dd6c_2", RECIPE, None)


async def test_a_build_ends_once(builds: Builds) -> None:
    """A job that is delivered again cannot change a published result."""
    build_id, _ = await builds.submit(RECIPE)

    assert await builds.finish(build_id, OK) == OK
    assert await builds.finish(build_id, FAILED) == OK
    build = await builds.get(build_id)
    assert build is not None
    assert build.result == OK


async def test_a_released_build_is_unpublished_until_it_is_marked(builds: Builds) -> None:
    """A gateway that crashes between release and publication leaves a trace."""
    build_id, _ = await builds.submit(RECIPE)
    await builds.release(RECIPE.client, 1)

    assert await builds.unpublished(timedelta(0)) == [build_id]
    assert await builds.unpublished(timedelta(minutes=1)) == []
    await builds.published(build_id)
    assert await builds.unpublished(timedelta(0)) == []


async def test_after_a_loss_of_the_message_queue_every_open_build_is_unpublished(builds: Builds) -> None:
    """Its job is published again, however many there are; builds that wait or have ended have no job."""
    released, *_ = [
        (await builds.submit(structs.replace(RECIPE, container_id=f"{number:016x}", target_image=f"r/i:{number}")))[0]
        for number in range(3)
    ]
    (ended,) = set(await builds.release(RECIPE.client, 2)) - {released}
    await builds.published(released)
    await builds.published(ended)
    await builds.finish(ended, OK)

    await builds.unpublish_all()

    assert await builds.unpublished(timedelta(0)) == [released]


async def test_a_container_id_belongs_to_the_inputs_of_its_first_build(builds: Builds) -> None:
    """Also for a client that replaces the build, or sends its request at the same time."""
    first, other = (structs.replace(RECIPE, fingerprint=digit * 64) for digit in "ab")
    assert await builds.inputs(RECIPE.container_id) == ""
    build_id, _ = await builds.submit(first)

    assert await builds.inputs(RECIPE.container_id) == "a" * 32
    with pytest.raises(BadRequest, match="another request has the container id"):
        await builds.submit(other, instead_of=build_id)
    assert (await builds.submit(first, instead_of=build_id))[1]
    assert (await builds.submit(structs.replace(RECIPE, container_id="d" * 16, target_image="x"), instead_of=None))[1]


async def test_numbers_are_removed_after_their_records(redis: Redis) -> None:
    """But the inputs of an image that may exist stay, and the number of a build that has not ended."""
    builds = RedisBuilds(redis)
    recipes = [
        structs.replace(
            RECIPE, container_id=f"{number:016x}", target_image=f"r.example/x:{number}", fingerprint="f" * 64
        )
        for number in range(60)
    ]
    for recipe in recipes[:30]:
        build_id, _ = await builds.submit(recipe)
        if recipe is not recipes[0]:
            await redis.delete(keys.build(build_id, keys.SUBMISSION), keys.latest_build(recipe.target_image))
    for recipe in recipes[30:]:
        await builds.submit(structs.replace(recipe, client="another"))

    assert await redis.hlen(keys.COUNTERS) <= 45  # four of up to sixty are looked at for each new build
    assert await redis.hget(keys.COUNTERS, recipes[0].container_id) == b"1"
    assert await builds.inputs(recipes[1].container_id) == "f" * 32
    assert await builds.submit(recipes[1]) == (f"bd-{recipes[1].container_id}_1", True)


async def test_an_unknown_build_is_none(builds: Builds) -> None:
    """A missing record is not an error."""
    assert await builds.get("bd-0_1") is None


async def test_a_build_is_open_until_it_ends(builds: Builds) -> None:
    """`unfinished` returns it until then."""
    build_id, _ = await builds.submit(RECIPE)
    await builds.release(RECIPE.client, 1)

    assert await builds.unfinished(timedelta(0)) == [build_id]
    assert await builds.unfinished(timedelta(minutes=1)) == []
    await builds.finish(build_id, OK)
    assert await builds.unfinished(timedelta(0)) == []


async def test_a_forgotten_build_is_neither_unpublished_nor_unfinished(builds: Builds) -> None:
    """The reaper does not find it again."""
    build_id, _ = await builds.submit(RECIPE)
    await builds.forget(build_id)

    assert await builds.unpublished(timedelta(0)) == await builds.unfinished(timedelta(0)) == []


async def test_attempts_are_counted_until_the_build_is_reopened(builds: Builds) -> None:
    """A build that an operator replays begins from the start, and may end otherwise."""
    build_id, _ = await builds.submit(RECIPE)
    assert [await builds.begin(build_id), await builds.begin(build_id)] == [1, 2]
    await builds.finish(build_id, FAILED)

    await builds.reopen(build_id)

    assert await builds.begin(build_id) == 1
    assert await builds.unfinished(timedelta(0)) == [build_id]
    assert await builds.finish(build_id, OK) == OK


async def test_a_failed_list_of_packages_is_stored_until_one_succeeds(builds: Builds) -> None:
    """It replaces the one before."""
    build_id, _ = await builds.submit(RECIPE)
    assert await builds.listing(build_id) is None

    for attempt in (1, 2):
        listing = Listing(state=ListingState.RETRYING, attempts=attempt, time=NOON, reason="no", failures=1)
        await builds.put_listing(build_id, listing)
        assert await builds.listing(build_id) == listing
    await builds.put_listing(build_id, None)

    assert await builds.listing(build_id) is None


async def test_the_last_attempt_to_sign_is_stored(builds: Builds) -> None:
    """It replaces the one before; without a signing key there is no attempt."""
    build_id, _ = await builds.submit(RECIPE)
    assert await builds.signing(build_id) is None

    await builds.put_signing(build_id, Signing(state=SigningState.RETRYING, attempts=1, time=NOON, reason="no"))
    signed = Signing(state=SigningState.SIGNED, attempts=2, time=NOON)
    await builds.put_signing(build_id, signed)

    assert await builds.signing(build_id) == signed


async def test_the_build_before_is_the_one_of_the_same_series(builds: Builds) -> None:
    """Builds of other inputs are versions of one image if their series is the same; others have none before."""
    first = structs.replace(RECIPE, series="tools")
    second = structs.replace(first, container_id="d" * 16, target_image="registry.example.com/team/builds:d")
    other = structs.replace(second, container_id="e" * 16, target_image="registry.example.com/team/builds:e", series="")
    ids = [(await builds.submit(each))[0] for each in (first, other, second)]

    before = [await builds.before(build_id) for build_id in ids]

    assert [each and each.id for each in before] == [None, None, ids[0]]
