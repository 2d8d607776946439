"""The rule that no byte leaves under a wrong digest."""

import hashlib
from copy import copy
from typing import Self

from swell.errors import DigestMismatch, UpstreamFailed
from swell.oci.digest import Digest


class Verifier:
    """Watches bytes go by that must have *digest* and, where it is known, *size*.

    Of what is *trusted*, because it was verified when it was stored, only the size is looked at.
    """

    def __init__(self, digest: Digest, size: int | None = None, *, trusted: bool = False) -> None:
        self._digest = digest
        self._size = size
        self._seen = 0
        self._hash = None if trusted else hashlib.new(digest.partition(":")[0])

    @property
    def is_full(self) -> bool:
        """Whether all bytes that there should be have gone by."""
        return self._seen == self._size

    def copy(self) -> Self:
        """Another one that has seen the same bytes."""
        twin = copy(self)
        twin._hash = self._hash and self._hash.copy()
        return twin

    def update(self, piece: bytes) -> None:
        """Take the next *piece*; it pays to do that in a thread, other threads go on meanwhile.

        Raises:
            UpstreamFailed: that makes more bytes than there should be.
        """
        self._seen += len(piece)
        if self._size is not None and self._seen > self._size:
            raise UpstreamFailed(f"what came as {self._digest} is longer than {self._size} bytes")
        if self._hash:
            self._hash.update(piece)

    def finish(self) -> None:
        """Judge the whole.

        Raises:
            UpstreamFailed: it is too short.
            DigestMismatch: it has another digest.
        """
        if self._size is not None and self._seen != self._size:
            raise UpstreamFailed(f"what came as {self._digest} has {self._seen} bytes instead of {self._size}")
        if self._hash and self._hash.hexdigest() != self._digest.partition(":")[2]:
            raise DigestMismatch(f"what came as {self._digest} has another digest")


def verified(content: bytes, digest: Digest, size: int | None = None) -> bytes:
    """*content*, which has *digest* and *size*.

    Raises:
        UpstreamFailed: it has not.
    """
    verifier = Verifier(digest, size)
    verifier.update(content)
    try:
        verifier.finish()
    except DigestMismatch as error:
        raise UpstreamFailed(str(error)) from error  # a class that services of every version have
    return content
