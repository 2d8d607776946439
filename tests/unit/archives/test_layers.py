"""Layers are measured, and their claimed digests and sizes are checked."""

import gzip
import hashlib
import io
import tarfile
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell.api.containers import ContainerLayer
from swell.archives import gunzip
from swell.archives.layers import LayerMeter, measure, verify_layer
from swell.errors import BadRequest, DigestInvalid, SwellError, TooLarge

LAYER = ContainerLayer(location="data:")


def tar_of(name: str, content: bytes) -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        return file.getvalue()


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


TAR = tar_of("hello.txt", b"hello\n")


def test_a_meter_measures_the_size_of_the_tar() -> None:
    """The limit is on the uncompressed size."""
    assert measure(gzip.compress(TAR), len(TAR)).tar_size == len(TAR)


def test_what_a_layer_does_not_claim_is_filled_in() -> None:
    """The manifest needs all three, and clients may leave them out."""
    content = gzip.compress(TAR)

    layer = verify_layer(content, LAYER)

    assert (layer.gzip_digest, layer.gzip_size, layer.tar_digest) == (sha256(content), len(content), sha256(TAR))


@pytest.mark.parametrize(
    ("claim", "name"),
    [
        (ContainerLayer(location="data:", gzip_digest="sha256:" + "0" * 64), "gzipDigest"),
        (ContainerLayer(location="data:", gzip_size=7), "gzipSize"),
        (ContainerLayer(location="data:", tar_digest="sha256:" + "0" * 64), "tarDigest"),
    ],
)
def test_a_wrong_claim_is_refused_with_the_measured_value(claim: ContainerLayer, name: str) -> None:
    """Believing it would make an image that no runtime can pull."""
    with pytest.raises(DigestInvalid, match=f"{name} is .*, not .* as the request says"):
        verify_layer(gzip.compress(TAR), claim)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        TAR,
        gzip.compress(TAR, mtime=0)[:-9],
        gzip.compress(b"no tar", mtime=0),
        gzip.compress(b"", mtime=0),
        gzip.compress(b"x" * 10240, mtime=0),
        gzip.compress(TAR, mtime=0) + b"trailing",
    ],
)
def test_what_is_no_gzipped_tar_is_refused(content: bytes) -> None:
    """Now, with a sentence, rather than later, in the middle of a pull."""
    with pytest.raises(BadRequest):
        verify_layer(content, LAYER)


def test_a_gzip_of_several_members_is_one_tar() -> None:
    """Parallel compressors write such files, and runtimes read them."""
    content = gzip.compress(TAR[:700]) + gzip.compress(TAR[700:])

    assert verify_layer(content, LAYER).tar_digest == sha256(TAR)


def test_an_empty_tar_is_a_layer() -> None:
    """`tar` writes two blocks of zeros when it is given nothing, and tools send that."""
    assert verify_layer(gzip.compress(bytes(1024)), LAYER).tar_digest == sha256(bytes(1024))


def test_a_bomb_is_stopped_at_the_limit() -> None:
    """A thousandth of its size as gzip: reading on to count would cost what refusing is to save."""
    bomb = gzip.compress(tar_of("zeros", bytes(8 << 20)))

    with pytest.raises(TooLarge):
        verify_layer(bomb, LAYER, limit=1 << 20)


@given(st.binary(max_size=2000), st.lists(st.integers(1, 300), min_size=1))
def test_measuring_does_not_depend_on_how_the_bytes_come(content: bytes, sizes: list[int]) -> None:
    """Networks cut where they like."""
    compressed = gzip.compress(tar_of("file", content))
    meter, rest = LayerMeter(1 << 20), compressed
    for size in sizes:
        meter.update(rest[:size])
        rest = rest[size:]
    meter.update(rest)

    assert meter.finish(LAYER) == verify_layer(compressed, LAYER)


@given(st.binary(max_size=500), st.booleans())
def test_hostile_bytes_end_in_an_error_of_ours(content: bytes, wrapped: bool) -> None:
    """For any content, the answer is a sentence and no stack trace."""
    with suppress(SwellError):
        verify_layer(gzip.compress(content) if wrapped else content, LAYER)


def test_many_members_of_gzip_take_time_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte of empty members took seconds, because each copied all that follows it."""
    read = list[int]()
    inflate = zlib.decompressobj

    class Counting:
        def __init__(self, form: int) -> None:
            self._inner = inflate(form)

        def decompress(self, content: bytes, most: int) -> bytes:
            read.append(len(content))
            return self._inner.decompress(content, most)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    content = gzip.compress(TAR) + gzip.compress(b"") * 50_000

    assert measure(content, len(TAR)).tar_size == len(TAR)
    assert sum(read) < 200 * len(content)


def test_a_layer_may_have_a_million_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs time although it may be empty."""
    monkeypatch.setattr(gunzip, "MAX_MEMBERS", 3)
    member = gzip.compress(b"")
    assert measure(gzip.compress(TAR) + 2 * member, len(TAR)).tar_size == len(TAR)

    with pytest.raises(BadRequest, match="cannot be inflated"):
        measure(gzip.compress(TAR) + 3 * member, len(TAR))
