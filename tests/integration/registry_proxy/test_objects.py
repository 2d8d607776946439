"""What every object store must do: one suite over S3 and its memory twin."""

import uuid
from pathlib import Path

import pytest

from swell.errors import BlobUnknown, DigestInvalid, NotFound, Unavailable
from swell.oci.digest import digest_of
from swell.outbound import PIECE
from swell.store.blobs import Blobs, key_of
from swell.store.objects import MemoryObjects, Objects, connect
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
    """Byte by byte, also when there is none."""
    await objects.put(key, content)

    assert await objects.get(key) == content
    assert await objects.size(key) == len(content)
    assert b"".join(await taken(objects, key)) == content


async def test_what_is_absent_is_told_as_such(objects: Objects, key: str) -> None:
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
    """Over the five MiB where S3 uploads come in parts; nobody ever holds more than a piece."""
    content = bytes(range(256)) * (1 << 10) * 48
    path = tmp_path / "layer"
    path.write_bytes(content)

    await objects.put_file(key, path)

    pieces = await taken(objects, key)
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) < 4 * PIECE
    assert await objects.size(key) == len(content)


async def test_a_blob_is_kept_under_its_digest(objects: Objects) -> None:
    """The same bytes are kept once, whoever put them."""
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


@pytest.mark.parametrize(("secret", "bucket"), [("wrong-secret", "swell-layers"), (None, "no-such-bucket")])
async def test_a_store_that_does_not_take_us_stops_the_service_at_its_start(
    s3: S3, secret: str | None, bucket: str
) -> None:
    """Rather than the first pull that needs it."""
    with pytest.raises(Unavailable):
        async with connect(s3.endpoint, s3.access_key, secret or s3.secret_key, bucket):
            pass


async def test_a_store_that_is_away_is_unavailable() -> None:
    """Whoever asked may come again."""
    with pytest.raises(Unavailable):
        async with connect("http://127.0.0.1:9", "a", "b", "swell-layers"):
            pass
