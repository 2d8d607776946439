"""What every object store must do: one suite over S3 and its memory twin."""

import asyncio
import uuid
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from msgspec import structs
from yarl import URL

from swell.errors import BlobUnknown, DigestInvalid, NotFound, Unavailable
from swell.net.outbound import PIECE
from swell.oci.digest import digest_of
from swell.store.blobs import Blobs, key_of
from swell.store.connections.settings import S3Settings
from swell.store.objects import MemoryObjects, Objects
from swell.store.s3_objects import S3Objects, connect
from tests.integration.registry_proxy.support import S3


@pytest.fixture(params=["memory", "s3"])
def objects(request: pytest.FixtureRequest) -> Objects:
    found: Objects = MemoryObjects() if request.param == "memory" else request.getfixturevalue("s3_objects")
    return found


@pytest.fixture
def key() -> str:
    return f"tests/{uuid.uuid4().hex}"


async def taken(objects: Objects, key: str) -> list[bytes]:
    async with objects.open(key) as pieces:
        return [piece async for piece in pieces]


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 257])
async def test_what_was_put_comes_back(objects: Objects, key: str, content: bytes) -> None:
    """Byte by byte, also when the content is empty."""
    await objects.put(key, content)

    assert await objects.get(key) == content
    assert await objects.size(key) == len(content)
    assert b"".join(await taken(objects, key)) == content


async def test_what_is_absent_is_none_or_an_error(objects: Objects, key: str) -> None:
    """None where one asks, an error where one goes to read."""
    assert await objects.get(key) is None
    assert await objects.size(key) is None
    with pytest.raises(NotFound):
        await taken(objects, key)


async def test_a_put_replaces(objects: Objects, key: str) -> None:
    """Logs are written again when they have grown."""
    await objects.put(key, b"first")
    await objects.put(key, b"second")

    assert await objects.get(key) == b"second"


async def test_a_big_file_is_streamed_in_small_pieces(objects: Objects, key: str, tmp_path: Path) -> None:
    """Over the five MiB where S3 uploads come in parts; each side holds at most one piece in memory."""
    content = bytes(range(256)) * (1 << 10) * 48
    path = tmp_path / "layer"
    path.write_bytes(content)

    await objects.put_file(key, path)

    pieces = await taken(objects, key)
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) < 4 * PIECE
    assert await objects.size(key) == len(content)


async def test_a_blob_is_kept_under_its_digest(objects: Objects) -> None:
    """The same bytes from two writers are stored once."""
    content = uuid.uuid4().bytes
    digest = digest_of(content)
    blobs = Blobs(objects)

    await blobs.put(digest, content)

    assert await objects.get(key_of(digest)) == content
    assert await blobs.size(digest) == len(content)
    async with blobs.open(digest) as pieces:
        assert [piece async for piece in pieces] == [content]


async def test_a_blob_is_not_kept_under_a_wrong_digest(objects: Objects) -> None:
    """One tenant could put something else under the digest of another's layer."""
    digest = digest_of(uuid.uuid4().bytes)

    with pytest.raises(DigestInvalid):
        await Blobs(objects).put(digest, b"something else")
    with pytest.raises(BlobUnknown):
        async with Blobs(objects).open(digest):
            pass


async def test_a_store_that_does_not_take_us_stops_the_service_at_its_start(s3: S3) -> None:
    """Rather than the first pull that needs it."""
    with pytest.raises(Unavailable):
        async with connect(structs.replace(s3.settings, secret_key="wrong-secret"), "swell-layers"):
            pass


async def test_a_missing_bucket_is_created_once(s3: S3) -> None:
    """All services start at the same moment, in front of an empty store."""
    bucket = f"new-{uuid.uuid4().hex}"

    async def use(key: str) -> None:
        async with connect(s3.settings, bucket) as objects:
            await objects.put(key, b"content")

    await asyncio.gather(*map(use, "abcd"))

    async with connect(s3.settings, bucket) as objects:
        assert [await objects.get(key) for key in "abcd"] == [b"content"] * 4


async def test_a_store_that_is_away_is_unavailable() -> None:
    """The client may repeat the request."""
    with pytest.raises(Unavailable):
        async with connect(S3Settings(endpoint="http://127.0.0.1:9", access_key="a", secret_key="b"), "swell-layers"):
            pass


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (3, 8), (250, 257), (0, 257), (5, None), (0, 0), (7, 7)])
async def test_a_part_of_an_object_comes_alone(objects: Objects, key: str, start: int, stop: int | None) -> None:
    """Clients go on where they were cut."""
    content = bytes(range(256)) + b"x"
    await objects.put(key, content)

    async with objects.open(key, start, stop) as pieces:
        assert b"".join([piece async for piece in pieces]) == content[start:stop]


async def test_an_empty_object_can_be_opened(objects: Objects, key: str) -> None:
    """A range cannot express no bytes; a missing object is an error nevertheless."""
    await objects.put(key, b"")

    for start, stop in (0, 0), (0, None):
        async with objects.open(key, start, stop) as pieces:
            assert [piece async for piece in pieces] == []
    with pytest.raises(NotFound):
        async with objects.open(f"{key}/missing", 0, 0):
            pass


async def test_only_a_store_that_clients_reach_gives_links(s3: S3, key: str) -> None:
    """The link is made for the name that clients know the store by, and opens one object without a key."""
    where = s3.settings, "swell-layers"
    public = s3.endpoint.replace("127.0.0.1", "localhost")
    async with connect(*where) as hidden, connect(*where, public_endpoint=public) as reachable:
        await hidden.put(key, b"content")
        link = reachable.link(key)
        assert hidden.link(key) is None
    assert link and link.startswith(public)
    async with aiohttp.request("GET", URL(link, encoded=True)) as answer:
        assert await answer.read() == b"content"
    async with aiohttp.request("GET", URL(link.replace(key, f"{key}x"), encoded=True)) as answer:
        assert answer.status == 403


async def test_the_store_has_a_rule_that_removes_old_objects(s3: S3) -> None:
    """The same rule is stored once, also after several calls; other rules of an operator stay."""
    client = Minio(URL(s3.endpoint).authority, s3.access_key, s3.secret_key, secure=False, region="us-east-1")
    bucket = f"b{uuid.uuid4().hex}"
    await asyncio.to_thread(s3.make_bucket, bucket)
    theirs = Rule(ENABLED, rule_filter=Filter(prefix="theirs/"), rule_id="theirs", expiration=Expiration(days=1))
    await asyncio.to_thread(client.set_bucket_lifecycle, bucket, LifecycleConfig([theirs]))
    async with connect(s3.settings, bucket) as objects:
        await objects.expire("cache/", 30)
        await objects.expire("cache/", 7)
        await objects.put("cache/x", b"content")
        assert await objects.get("cache/x") == b"content"

    found = await asyncio.to_thread(client.get_bucket_lifecycle, bucket)
    assert found
    days = {
        rule.rule_filter.prefix: rule.expiration.days for rule in found.rules if rule.rule_filter and rule.expiration
    }
    assert days == {"theirs/": 1, "cache/": 7}


async def test_services_that_set_rules_at_the_same_time_lose_none(s3: S3) -> None:
    """The rules of a bucket are one document; an empty prefix means the whole bucket, as for logs."""
    client = Minio(URL(s3.endpoint).authority, s3.access_key, s3.secret_key, secure=False, region="us-east-1")
    bucket = f"b{uuid.uuid4().hex}"
    await asyncio.to_thread(s3.make_bucket, bucket)
    rules = {"": 91, "unpushed/": 1, "cache/": 30}
    async with connect(s3.settings, bucket) as objects:
        await asyncio.gather(*(objects.expire(prefix, days) for prefix, days in rules.items()))

    found = await asyncio.to_thread(client.get_bucket_lifecycle, bucket)
    assert found
    assert {rule.rule_filter.prefix or "": rule.expiration.days for rule in found.rules} == rules  # type: ignore[union-attr]


async def test_what_is_used_counts_as_new_once_it_is_old(s3: S3, s3_objects: S3Objects, key: str) -> None:
    """So that a rule by age removes what no client has read for that long."""
    client = Minio(URL(s3.endpoint).authority, s3.access_key, s3.secret_key, secure=False, region="us-east-1")
    await s3_objects.put(key, b"content")
    made = (await asyncio.to_thread(client.stat_object, "swell-layers", key)).last_modified
    await asyncio.sleep(1.1)  # S3 counts in seconds

    await s3_objects.renew(key, timedelta(days=15))
    assert (await asyncio.to_thread(client.stat_object, "swell-layers", key)).last_modified == made
    await s3_objects.renew(key, timedelta(0))
    renewed = await asyncio.to_thread(client.stat_object, "swell-layers", key)
    assert made and renewed.last_modified and renewed.last_modified > made
    assert await s3_objects.get(key) == b"content"
    await s3_objects.renew(f"{key}/absent", timedelta(0))
