"""The stores read the Redis keys that commit aa47f99 wrote; see tests/fixtures/README.md."""

from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.adapters.access.grants import RedisGrants
from gateway.adapters.access.limits import RedisBuckets
from gateway.domain.quota import Client, Kind, Quota
from metrics.adapters.counters import RedisCounters
from metrics.domain.usage import Metric, Table, Use
from registry_proxy.adapters.documents import RedisDocuments
from swell.oci.digest import Digest, digest_of
from swell.store.builds import CancelState, RedisBuilds
from swell.store.records import BuildResult, Reason
from swell.store.workers.capabilities import WorkerCapabilities
from tests.fixtures import saved

CLIENT = "d1f7a14a92f5eb385570"


@pytest.fixture
async def redis(redis: Redis) -> Redis:
    """Redis with every key of the old commit."""
    await saved.restore(redis)
    return redis


def answer(label: str) -> dict[str, Any]:
    return saved.answers()[label]


async def test_builds_are_found_by_id_by_image_and_by_container(redis: Redis) -> None:
    """The status of a build is the same after the upgrade."""
    builds = RedisBuilds(redis)
    build_id = answer("build-with-context")["buildId"]

    build = await builds.get(build_id)

    assert build and build.result and build.result.succeeded and not build.is_active
    assert await builds.latest(build.submission.target_image) == build
    assert await builds.page(build.submission.container_id, before=None, limit=10) == [build]
    cancelled = await builds.get(answer("cancelled")["buildId"])
    assert cancelled and cancelled.is_cancelled and cancelled.result
    assert cancelled.result.reason is Reason.CANCELLED
    running = await builds.get(answer("running")["buildId"])
    assert running and running.is_active


async def test_the_same_request_finds_the_same_build(redis: Redis) -> None:
    """A submission of the new code does not start a second build of an image."""
    builds = RedisBuilds(redis)
    build = await builds.get(answer("freeze")["buildId"])
    assert build

    assert await builds.submit(build.submission) == (build.id, False)
    assert await builds.submit(build.submission, instead_of=build.id) == (f"{build.id[:-1]}2", True)


async def test_the_queue_goes_on_where_it_was(redis: Redis) -> None:
    """Positions stay, and the next build of a client starts when one has ended."""
    builds = RedisBuilds(redis)
    ids = [answer(label)["buildId"] for label in ("running", "waiting-0", "waiting-1", "waiting-2", "waiting-3")]
    assert [await builds.position(each) for each in ids] == [None, 1, 2, 5, 6]
    assert set(await builds.unfinished(timedelta())) >= set(ids[:3])

    assert await builds.begin(ids[0]) == 2  # the builder that had it has crashed
    await redis.zadd(f"swell:queue:running:{CLIENT}", dict.fromkeys(ids[:3], 4e9))  # as if it were the same day
    assert await builds.release(CLIENT, 3) == []
    running = await builds.get(ids[0])
    assert running
    now = running.submission.created
    result = BuildResult(succeeded=True, exit_status=0, started=now, finished=now)
    assert await builds.finish(ids[0], result) == result
    assert CLIENT in await builds.waiting()
    assert await builds.release(CLIENT, 3) == [ids[3]]


async def test_a_build_is_cancelled_by_the_request_that_started_it(redis: Redis) -> None:
    """The references that requests hold to a build are read; the children of an index are cancelled with it."""
    builds = RedisBuilds(redis)
    asked = answer("waiting-platforms")
    build = await builds.get(asked["buildId"])
    assert build
    ended = BuildResult.never_begun(build.submission.created)

    refused = await builds.cancel(build.id, ended, request_id="another", user="", all_requests=False)
    left = await builds.cancel(build.id, ended, request_id=asked["requestId"], user="", all_requests=False)

    assert (refused.state, refused.others) == (CancelState.REFUSED, 1)
    assert (left.state, left.others) == (CancelState.STOPPING, 0)
    children = [child.build_id for child in build.submission.children]
    assert left.children == tuple((child, CancelState.DEQUEUED) for child in children)


async def test_grants_and_their_records_are_read(redis: Redis) -> None:
    """A token that was given before the upgrade still opens its image; a revoked one does not."""
    grants = RedisGrants(redis)
    token = answer("augment")["containerToken"]

    grant, record = await grants.get(token), await grants.record(token)

    assert grant and grant.token == token and grant.container_config
    assert grant.image == answer("augment")["containerImage"]
    assert record and record.wave_image == answer("augment")["targetImage"]
    revoked = answer("revoked")["containerToken"]
    assert await grants.get(revoked) is None
    assert await grants.record(revoked)
    assert await grants.revoke(token) and await grants.get(token) is None


async def test_documents_of_a_token_are_read(redis: Redis) -> None:
    """A pull that began before the upgrade ends with the same digests."""
    documents = RedisDocuments(redis)
    token = answer("augment")["containerToken"]

    digests, root = await documents.digests(token), await documents.root(token)

    assert digests and root
    assert digests.source == "sha256:3b8183db918edc73781f516c69f756c510069c43318df721c6f734ffd2e465b6"
    assert digests.wave == root.digest == digest_of(root.content)
    assert root.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert await documents.get(token, root.digest) == root
    digest = Digest(root.fields["config"]["digest"])
    config = await documents.config(digest)
    assert config and await documents.has_created_config(token, digest)
    assert config.digest == digest
    assert "ADDED=yes" in config.fields["config"]["Env"]


async def test_an_index_of_a_token_has_the_child_that_was_changed(redis: Redis) -> None:
    """Its child is found by the digest that the index names."""
    documents = RedisDocuments(redis)
    token = answer("augment-index")["containerToken"]

    root = await documents.root(token)

    assert root
    children = [await documents.get(token, Digest(each["digest"])) for each in root.fields["manifests"]]
    assert any(child and child.fields.get("layers") for child in children)


async def test_counters_go_on_counting(redis: Redis) -> None:
    """An event that was counted before the upgrade is not counted again."""
    counters = RedisCounters(redis)
    table = Table(Metric.BUILDS, "2026-11-29")
    event = f"events.build.done:{answer('freeze')['buildId']}"
    use = Use(event_id=event, metrics=(Metric.BUILDS,), day="2026-11-29", architecture="amd64", organisation="acme")

    assert await counters.of_all(table) == (7, {"acme": 1})
    assert not await counters.add(use)
    assert await counters.of_all(Table(Metric.PULLS)) == (5, {"acme": 2})
    assert await counters.of_one(Table(Metric.BUILDS, None, "arm64"), "") == 1


async def test_limits_and_capabilities_are_read(redis: Redis) -> None:
    """A limit that was used up stays used up; what builders have published is known."""
    await redis.set("swell:limit:build:user:ada", b"4000000000000000")  # the recorded form, far in the future
    taken = await RedisBuckets(redis).take(Kind.BUILD, Client("ada"), Quota(1000, 3600), 1)
    assert taken.granted == 0
    await redis.zadd("swell:machines", {b"{}": 4e9})
    assert await WorkerCapabilities(redis).all() == [{}]
