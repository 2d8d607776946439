"""Digests: the names of exact bytes."""

import hashlib

import msgspec
import pytest

from swell.errors import DigestInvalid
from swell.oci.digest import Digest, digest_of, hex_of, parse_digest

SHA256 = "sha256:" + "ab" * 32
SHA512 = "sha512:" + "ab" * 64


@pytest.mark.parametrize("text", [SHA256, SHA512])
def test_both_algorithms_of_the_specification_are_read(text: str) -> None:
    """Registries may use either; OCI image-spec, descriptor.md, "Registered algorithms"."""
    assert parse_digest(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:baddigeststring",
        SHA256[:-1],
        SHA256 + "0",
        SHA256 + "\n",
        SHA256.upper(),
        "sha256:" + "AB" * 32,
        "sha256:" + "ab" * 64,
        "sha512:" + "ab" * 32,
        "md5:" + "ab" * 16,
        " " + SHA256,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """A digest becomes part of paths and keys; what is no digest must not get that far."""
    with pytest.raises(DigestInvalid):
        parse_digest(text)


def test_a_digest_is_the_hash_of_the_bytes() -> None:
    """Clients compute the same to compare."""
    content = b"hello\n"

    assert hex_of(digest_of(content)) == hashlib.sha256(content).hexdigest()


def test_decoding_checks_digests_too() -> None:
    """Descriptors and records come in as JSON; they are held to the same grammar."""
    assert msgspec.convert(SHA512, Digest) == SHA512
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(SHA256 + "\n", Digest)
