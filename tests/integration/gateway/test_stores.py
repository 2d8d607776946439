"""What the gateway stands on: the queue, the state store, the store of layers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.adapters.blobs import BlobStore
from gateway.adapters.builds.jobs import JobQueue
from swell.errors import DigestInvalid, Unavailable
from swell.jobs import streams
from swell.jobs.messages import BuildJob
from swell.jobs.streams import Nats
from swell.observe.backend_checks import nats_check, redis_check, s3_check
from swell.oci.digest import digest_of
from swell.store import s3_objects
from swell.store.blobs import Blobs
from swell.store.objects import ANY_TYPE, MemoryObjects
from swell_embedded.stack import Stack
from tests.integration.outages import stalled
from tests.stores import LAYERS, s3_of

LAYER = b"a layer"
JOB = BuildJob(id="bd-1_1", target_image="r/i:t", containerfile="FROM a", platform="linux/amd64")


class Counted(MemoryObjects):
    """Counts what is sent to it."""

    def __init__(self) -> None:
        super().__init__()
        self.puts: Counter[str] = Counter()

    async def put(self, key: str, content: bytes, media_type: str = ANY_TYPE) -> None:
        self.puts[key] += 1
        await super().put(key, content, media_type)


@asynccontextmanager
async def away(backends: Stack, nats: Nats) -> AsyncIterator[None]:
    """NATS is dead in the block, and its client knows."""
    backends.kill("nats")
    while nats.client.is_connected:  # noqa: ASYNC110  only its log has an event
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        await backends.restart("nats")


@pytest.fixture
def objects() -> Counted:
    return Counted()


async def test_all_is_well_when_both_answer(redis: Redis, nats: Nats) -> None:
    """The checks of both backends pass."""
    assert [await redis_check(redis).problem(), await nats_check(nats).problem()] == ["", ""]


async def test_an_unavailable_state_store_is_reported() -> None:
    """The reason names the backend."""
    nowhere = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))

    assert await redis_check(nowhere).problem() == "the state store does not answer"
    await nowhere.aclose()


async def test_an_unavailable_object_store_is_reported(backends: Stack) -> None:
    """The reason names the backend; S3 answers for a key that does not exist."""
    async with s3_objects.connect(s3_of(backends.env), LAYERS) as store:
        check = s3_check(store)
        assert await check.problem() == ""
        async with stalled(backends, "s3"):
            assert await check.problem() == "the object store does not answer within 2 s"


async def test_an_unavailable_queue_is_reported(backends: Stack) -> None:
    """The reason names the backend."""
    url = backends.env["SWELL_NATS_URL"]
    async with asyncio.timeout(60), streams.connect(url, "gateway") as nats, away(backends, nats):
        assert await nats_check(nats).problem() == "the message queue does not answer"
        with pytest.raises(Unavailable, match="the message queue does not answer"):
            await JobQueue(nats).put(JOB)


async def test_a_service_stops_well_without_its_queue(backends: Stack) -> None:
    """There is nothing to wait for: the connection is given up, and what waits to be sent."""
    async with asyncio.timeout(60), AsyncExitStack() as outer:
        async with streams.connect(backends.env["SWELL_NATS_URL"], "gateway") as nats:
            await outer.enter_async_context(away(backends, nats))
            await nats.client.publish("without.subscribers", b"x" * 1000)

        assert nats.client.is_closed


async def test_a_layer_is_sent_once(objects: Counted) -> None:
    """Every process of a pipeline brings the same one."""
    for _ in range(2):
        await BlobStore(Blobs(objects)).put_all({digest_of(LAYER): LAYER, digest_of(b"another"): b"another"})

    assert set(objects.puts.values()) == {1}
    async with Blobs(objects).open(digest_of(LAYER)) as pieces:
        assert b"".join([piece async for piece in pieces]) == LAYER


async def test_no_byte_is_kept_under_a_wrong_digest(objects: Counted) -> None:
    """A digest always names its bytes."""
    with pytest.raises(DigestInvalid):
        await BlobStore(Blobs(objects)).put_all({digest_of(LAYER): b"something else"})

    assert not objects.puts
