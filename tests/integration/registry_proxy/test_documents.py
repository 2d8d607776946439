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
from swell.store.redis import text
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


async def test_what_was_not_put_is_not_there(documents: AnyDocuments) -> None:
    await documents.put("t1", OTHER, SOON)

    assert await documents.root("t1") is None
    assert await documents.get("t1", MANIFEST.digest) is None
    assert await documents.config(OTHER.digest) is None


async def test_a_token_sees_its_own_documents_only(documents: AnyDocuments) -> None:
    await documents.put_root("t1", MANIFEST, SOURCE, SOON)

    assert await documents.root("t2") is None
    assert await documents.get("t2", MANIFEST.digest) is None


async def test_a_root_is_found_by_its_digest_as_well(documents: AnyDocuments) -> None:
    await documents.put_root("t1", MANIFEST, SOURCE, SOON)

    assert await documents.root("t1") == await documents.get("t1", MANIFEST.digest) == MANIFEST


async def test_the_first_root_stays(documents: AnyDocuments) -> None:
    """Replicas that resolve one token at the same time agree on the image."""
    answers = await asyncio.gather(*(documents.put_root("t1", each, SOURCE, SOON) for each in [MANIFEST, OTHER] * 10))

    assert set(answers) == {await documents.root("t1")}


async def test_a_document_is_found_under_the_digest_that_named_it(documents: AnyDocuments) -> None:
    """Which may be of another algorithm than ours."""
    sha512 = Digest("sha512:" + 128 * "a")
    await documents.put("t1", MANIFEST, SOON, under=sha512)

    assert await documents.get("t1", sha512) == MANIFEST


async def test_the_latest_referrers_count(documents: AnyDocuments) -> None:
    """Of each manifest that was asked about, and for that token only."""
    await documents.put_referrers("t1", SOURCE, MANIFEST, SOON)
    await documents.put_referrers("t1", SOURCE, OTHER, SOON)

    assert await documents.referrers("t1", [CONFIG.digest, SOURCE]) == [OTHER]
    assert await documents.referrers("t2", [SOURCE]) == []
    assert await documents.get("t1", OTHER.digest) is None


async def test_what_is_forgotten_is_gone(documents: AnyDocuments) -> None:
    for token in ("t1", "t2"):
        await documents.put_config(token, CONFIG, SOON)
        await documents.put_referrers(token, SOURCE, OTHER, SOON)
        await documents.put_root(token, MANIFEST, SOURCE, SOON)

    await documents.forget("t1")

    assert [await documents.root(token) for token in ("t1", "t2")] == [None, MANIFEST]
    assert await documents.get("t1", MANIFEST.digest) is None
    assert await documents.digests("t1") is None
    assert await documents.referrers("t1", [SOURCE]) == []
    assert not await documents.made_config("t1", CONFIG.digest)


@pytest.fixture
def kept(redis: Redis) -> RedisDocuments:
    return RedisDocuments(redis)


async def expiries(redis: Redis) -> set[int]:
    """When each key in Redis disappears, in seconds since the epoch; -1 for one that stays."""
    return {await redis.expiretime(text(key)) for key in await redis.keys()}


async def test_all_of_a_token_goes_when_it_expires(redis: Redis, kept: RedisDocuments) -> None:
    """Whatever nobody can pull any more takes no room."""
    await kept.put_config("t1", CONFIG, SOON)
    await kept.put("t1", OTHER, SOON)
    await kept.put_referrers("t2", SOURCE, OTHER, SOON)
    await kept.put_root("t1", MANIFEST, SOURCE, SOON)

    assert await expiries(redis) == {int(SOON.timestamp())}


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
