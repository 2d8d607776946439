"""No byte leaves under a wrong digest, and none beyond the declared size."""

import pytest

from swell.errors import UpstreamFailed
from swell.oci.digest import Digest, digest_of
from swell.registry.verifier import Verifier, verified

CONTENT = b"a layer of an image"
DIGEST, SIZE = digest_of(CONTENT), len(CONTENT)
SHA512 = Digest(
    "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d442"
    "3643ce80e2a9ac94fa54ca49f"
)


@pytest.mark.parametrize("cut", range(0, SIZE + 1, 5))
def test_content_is_accepted_in_any_pieces(cut: int) -> None:
    """Networks cut where they like."""
    verifier = Verifier(DIGEST, SIZE)
    verifier.update(CONTENT[:cut])
    assert verifier.is_full is (cut == SIZE)
    verifier.update(CONTENT[cut:])
    assert verifier.is_full
    verifier.finish()


def test_the_digest_may_be_sha512() -> None:
    """The vector is FIPS 180-4's, for "abc"."""
    assert verified(b"abc", SHA512, 3) == b"abc"
    with pytest.raises(UpstreamFailed, match="another digest"):
        verified(b"abd", SHA512, 3)


def test_one_changed_byte_is_another_digest() -> None:
    """The size alone says nothing about the content."""
    with pytest.raises(UpstreamFailed, match="another digest"):
        verified(CONTENT[:-1] + b"!", DIGEST, SIZE)


@pytest.mark.parametrize("size", [SIZE + 1, 10 * SIZE])
def test_content_that_ends_early_is_refused(size: int) -> None:
    """Also when its digest is right: then the declared size is wrong."""
    with pytest.raises(UpstreamFailed, match=f"{SIZE} bytes instead of {size}"):
        verified(CONTENT, DIGEST, size)


@pytest.mark.parametrize("size", [0, 1, SIZE - 1])
def test_the_first_byte_too_many_is_refused(size: int) -> None:
    """Before it is hashed or stored: an endless answer must not fill the disk."""
    verifier = Verifier(DIGEST, size)
    verifier.update(CONTENT[:size])
    with pytest.raises(UpstreamFailed, match=f"longer than {size}"):
        verifier.update(CONTENT[size : size + 1])


def test_without_a_size_the_digest_decides() -> None:
    """Registries may leave the length out."""
    assert verified(CONTENT, DIGEST) == CONTENT
    assert not Verifier(DIGEST).is_full
    with pytest.raises(UpstreamFailed, match="another digest"):
        verified(CONTENT[1:], DIGEST)


def test_trusted_content_has_only_its_size_checked() -> None:
    """It was verified when it was stored, and hashing costs more than sending."""
    verifier = Verifier(DIGEST, 3, trusted=True)
    verifier.update(b"abc")
    verifier.finish()

    short = Verifier(DIGEST, 3, trusted=True)
    short.update(b"ab")
    with pytest.raises(UpstreamFailed, match="2 bytes instead of 3"):
        short.finish()
