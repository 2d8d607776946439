"""Verify the digest and size of streamed content."""

import hashlib
from copy import copy
from typing import Self

from swell.errors import DigestMismatch, UpstreamFailed
from swell.oci.digest import Digest


class Verifier:
    """Checks that a stream has *digest* and, if known, *size* in bytes.

    For *trusted* content, which was verified when it was stored, only the size is checked.
    """

    def __init__(self, digest: Digest, size: int | None = None, *, trusted: bool = False) -> None:
        self._digest = digest
        self._size = size
        self._seen = 0
        self._hash = None if trusted else hashlib.new(digest.partition(":")[0])

    @property
    def is_full(self) -> bool:
        """Return whether the stream has reached *size*."""
        return self._seen == self._size

    def copy(self) -> Self:
        """Return a verifier in the same state."""
        twin = copy(self)
        twin._hash = self._hash and self._hash.copy()
        return twin

    def update(self, piece: bytes) -> None:
        """Process the next *piece*; hashing releases the GIL, so call it in a thread.

        Raises:
            UpstreamFailed: the stream is longer than *size*.
        """
        self._seen += len(piece)
        if self._size is not None and self._seen > self._size:
            raise UpstreamFailed(f"the content of {self._digest} is longer than {self._size} bytes")
        if self._hash:
            self._hash.update(piece)

    def finish(self) -> None:
        """Check the complete stream.

        Raises:
            UpstreamFailed: the stream is too short.
            DigestMismatch: the stream has another digest.
        """
        if self._size is not None and self._seen != self._size:
            raise UpstreamFailed(f"the content of {self._digest} has {self._seen} bytes instead of {self._size}")
        if self._hash and self._hash.hexdigest() != self._digest.partition(":")[2]:
            raise DigestMismatch(f"the content of {self._digest} has another digest")


def verified(content: bytes, digest: Digest, size: int | None = None) -> bytes:
    """Return *content* after checking its *digest* and *size*.

    Raises:
        UpstreamFailed: one of them is wrong.
    """
    verifier = Verifier(digest, size)
    verifier.update(content)
    try:
        verifier.finish()
    except DigestMismatch as error:
        raise UpstreamFailed(str(error)) from error  # older services do not have the other class
    return content
