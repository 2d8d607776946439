"""The documents of tokens: one suite for the store in memory and the one in Redis, then how long Redis keeps them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from registry_proxy.adapters.documents import RedisDocuments
from swell.errors import Unavailable
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_CONFIG, OCI_MANIFEST
from swell.store.blobs import Blobs
from swell.store.connections.redis import text
from swell.store.objects import MemoryObjects
from tests.unit.registry_proxy.memory import MemoryDocuments

# Bytes that no writer of ours makes: a line feed first, a byte that is not UTF-8, no line feed last.
MANIFEST = Document(OCI_MANIFEST, b'\n{"schemaVersion": 2,\r\n "a": "\xff\x00"}')
OTHER = Document(OCI_MANIFEST, b'{"schemaVersion":2}')
CONFIG = Document(OCI_CONFIG, b'{"os":"linux"}')
SOURCE = digest_of(b"as it was upstream")
SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)  # longer than all these tests
LATER = SOON + timedelta(hours=35)

AnyDocuments = MemoryDocuments | RedisDocuments


@pytest.fixture(params=["memory", "redis"])
def documents(request: pytest.FixtureRequest, redis: Redis) -> AnyDocuments:
    return MemoryDocuments() if request.param == "memory" else RedisDocuments(redis)


async def test_a_document_comes_back_byte_by_byte(documents: AnyDocuments) -> None:
    """Its digest names these bytes."""
    await documents.put("t1", MANIFEST, SOON)
    await documents.put_config("t1", CONFIG, SOON)

    assert await documents.get("t1", MANIFEST.digest) == MANIFEST
    assert await documents.config(CONFIG.digest) == CONFIG


async def test_a_missing_document_is_none(documents: AnyDocuments) -> None:
    """A missing document is None, not an error."""
    await documents.put("t1", OTHER, SOON)

    assert await documents.root("t1") is None
    assert await documents.get("t1", MANIFEST.digest) is None
    assert await documents.config(OTHER.digest) is None


async def test_a_token_sees_its_own_documents_only(documents: AnyDocuments) -> None:
    """Tokens of different users must not share documents."""
    await documents.put_root("t1", MANIFEST, SOURCE, SOON)

    assert await documents.root("t2") is None
    assert await documents.get("t2", MANIFEST.digest) is None


async def test_a_root_is_found_by_its_digest_as_well(documents: AnyDocuments) -> None:
    """Clients request the tag first and then the digest."""
    await documents.put_root("t1", MANIFEST, SOURCE, SOON)

    assert await documents.root("t1") == await documents.get("t1", MANIFEST.digest) == MANIFEST


async def test_the_first_root_stays(documents: AnyDocuments) -> None:
    """Replicas that resolve one token at the same time agree on the image."""
    answers = await asyncio.gather(*(documents.put_root("t1", each, SOURCE, SOON) for each in [MANIFEST, OTHER] * 10))

    assert set(answers) == {await documents.root("t1")}


async def test_a_document_is_found_under_the_digest_that_named_it(documents: AnyDocuments) -> None:
    """Which may be of another algorithm than ours."""
    sha512 = Digest("sha512:" + 128 * "a")
    await documents.put_child("t1", sha512, MANIFEST, SOON)

    assert await documents.get("t1", sha512) == MANIFEST


async def test_the_latest_referrers_count(documents: AnyDocuments) -> None:
    """Of each manifest that was asked about, and for that token only."""
    await documents.put_referrers("t1", SOURCE, MANIFEST, SOON)
    await documents.put_referrers("t1", SOURCE, OTHER, SOON)

    assert await documents.referrers("t1", [CONFIG.digest, SOURCE]) == [OTHER]
    assert await documents.referrers("t2", [SOURCE]) == []
    assert await documents.get("t1", OTHER.digest) is None


async def test_removed_documents_are_gone(documents: AnyDocuments) -> None:
    """A revoked token must serve nothing."""
    for token in ("t1", "t2"):
        await documents.put_config(token, CONFIG, SOON)
        await documents.put_referrers(token, SOURCE, OTHER, SOON)
        await documents.put_root(token, MANIFEST, SOURCE, SOON)

    await documents.remove("t1")

    assert [await documents.root(token) for token in ("t1", "t2")] == [None, MANIFEST]
    assert await documents.get("t1", MANIFEST.digest) is None
    assert await documents.digests("t1") is None
    assert await documents.referrers("t1", [SOURCE]) == []
    assert not await documents.has_created_config("t1", CONFIG.digest)


@pytest.fixture
def kept(redis: Redis) -> RedisDocuments:
    return RedisDocuments(redis)


async def expiries(redis: Redis) -> set[int]:
    """When each key in Redis disappears, in seconds since the epoch; -1 for one that stays."""
    return {await redis.expiretime(text(key)) for key in await redis.keys()}


async def test_all_of_a_token_goes_when_it_expires(redis: Redis, kept: RedisDocuments) -> None:
    """What no client can pull any more takes no space."""
    await kept.put_config("t1", CONFIG, SOON)
    await kept.put("t1", OTHER, SOON)
    await kept.put_root("t1", MANIFEST, SOURCE, SOON)

    assert await expiries(redis) == {int(SOON.timestamp())}


async def test_what_a_registry_can_show_again_goes_an_hour_after_its_last_use(
    redis: Redis, kept: RedisDocuments
) -> None:
    """Children and referrers are not ours; and never do they outlive their token."""
    minute = datetime.now(UTC) + timedelta(minutes=1)
    await kept.put_child("t1", MANIFEST.digest, MANIFEST, SOON)
    await kept.put_child("t2", MANIFEST.digest, MANIFEST, minute)
    await kept.put_referrers("t3", SOURCE, OTHER, SOON)
    keys = [f"swell:image:t1:{MANIFEST.digest}", f"swell:image:t3:referrers:{SOURCE}"]

    for key in keys:
        assert 0 < await redis.ttl(key) <= 3600
    assert await redis.ttl(f"swell:image:t2:{MANIFEST.digest}") <= 60
    await redis.expire(keys[0], 10)
    assert await kept.get("t1", MANIFEST.digest) == MANIFEST
    assert await redis.ttl(keys[0]) > 3000
    await redis.unlink(keys[0])
    assert await kept.get("t1", MANIFEST.digest) is None


LARGE = Document(OCI_MANIFEST, b'{"schemaVersion":2,"x":"' + b"x" * (1 << 20) + b'"}')


async def test_large_documents_are_in_the_object_store(redis: Redis) -> None:
    """Redis holds all of its data in memory; a manifest may have 4 MiB, and a stranger many manifests."""
    kept = RedisDocuments(redis, Blobs(MemoryObjects()))
    large_config = Document(OCI_CONFIG, LARGE.content)
    await kept.put_root("t1", LARGE, SOURCE, SOON)
    await kept.put("t2", LARGE, SOON)
    await kept.put_child("t3", LARGE.digest, LARGE, SOON)
    await kept.put_config("t4", large_config, SOON)
    await kept.put_referrers("t5", SOURCE, LARGE, SOON)

    assert await kept.root("t1") == LARGE
    assert await kept.get("t1", LARGE.digest) == await kept.get("t2", LARGE.digest) == LARGE
    assert await kept.get("t3", LARGE.digest) == LARGE
    assert await kept.find_stored("t3", [LARGE.digest, OTHER.digest]) == {LARGE.digest}
    assert await kept.config(LARGE.digest) == large_config
    assert await kept.referrers("t5", [SOURCE]) == [LARGE]
    used = [await redis.memory_usage(text(key)) or 0 for key in await redis.keys()]
    assert sum(used) < 10_000


async def test_an_object_store_that_is_away_costs_only_what_can_be_had_again(redis: Redis) -> None:
    """What we made must not be lost: it goes into Redis then. A child is asked for again."""

    class Away(MemoryObjects):
        async def put(self, key: str, content: bytes, media_type: str = "") -> None:
            raise Unavailable

    kept = RedisDocuments(redis, Blobs(Away()))
    await kept.put_root("t1", LARGE, SOURCE, SOON)
    await kept.put_child("t2", LARGE.digest, LARGE, SOON)

    assert await kept.root("t1") == LARGE
    assert await kept.get("t2", LARGE.digest) is None


@pytest.mark.parametrize("order", [(SOON, LATER), (LATER, SOON)])
async def test_a_config_lives_as_long_as_the_last_token_that_leads_to_it(
    redis: Redis, kept: RedisDocuments, order: tuple[datetime, datetime]
) -> None:
    """Two tokens that ask for the same additions share it, whichever came first."""
    for expires in order:
        await kept.put_config(f"token until {expires}", CONFIG, expires)

    assert await redis.expiretime(f"swell:config:{CONFIG.digest}") == int(LATER.timestamp())


async def test_a_token_that_has_expired_leaves_nothing(redis: Redis, kept: RedisDocuments) -> None:
    """A pull that was slow ends after its token: it is answered, and not remembered."""
    past = datetime.now(UTC) - timedelta(seconds=1)

    assert await kept.put_root("t1", MANIFEST, SOURCE, past) == MANIFEST
    await kept.put_config("t1", CONFIG, past)

    assert await redis.keys() == []


async def test_a_store_that_is_away_is_unavailable() -> None:
    """The adapter speaks our words; the edge then says 503 and when to come back."""
    nowhere = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    documents = RedisDocuments(nowhere)

    for question in (
        documents.root("t1"),
        documents.put_root("t1", MANIFEST, SOURCE, SOON),
        documents.config(CONFIG.digest),
    ):
        with pytest.raises(Unavailable):
            await question
    await nowhere.aclose()
