"""Layers that are added to an image: gzipped tars, measured before anybody believes what they claim to be."""

import hashlib
import tarfile
import zlib

from msgspec import structs

from swell.api.containers import ContainerLayer
from swell.errors import BadRequest, DigestInvalid, TooLarge

_GZIP = 16 + zlib.MAX_WBITS
_PIECE = 1 << 20
_BLOCK = 512


class LayerMeter:
    """Hashes a gzipped tar, and the tar inside, as it streams by; the tar may have at most *limit* bytes.

    Nothing is unpacked. A gzip file of several members, as parallel compressors write them, is one tar.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._gzip = hashlib.sha256()
        self._gzip_size = 0
        self._tar = hashlib.sha256()
        self._tar_size = 0
        self._head = b""
        self._inflate = zlib.decompressobj(_GZIP)

    @property
    def tar_size(self) -> int:
        """Bytes of the tar so far."""
        return self._tar_size

    def update(self, piece: bytes) -> None:
        """Take the next *piece* of the gzip; its cost is that of inflating it, some ms a MiB of tar.

        Raises:
            BadRequest: it is no gzip.
            TooLarge: the tar has more than the limit.
        """
        self._gzip.update(piece)
        self._gzip_size += len(piece)
        while piece:
            if self._inflate.eof:  # and more to come: the next member
                self._inflate = zlib.decompressobj(_GZIP)
            try:
                self._take(self._inflate.decompress(piece, _PIECE))
            except zlib.error as error:
                raise BadRequest("The layer is not a gzipped tar: it cannot be inflated") from error
            piece = self._inflate.unconsumed_tail or self._inflate.unused_data

    def finish(self, layer: ContainerLayer) -> ContainerLayer:
        """*layer* with its digests and size filled in; what it claims is checked.

        Raises:
            BadRequest: the gzip breaks off, or holds no tar.
            DigestInvalid: a claim is wrong; the message tells what is right.
        """
        self._take(self._inflate.flush())
        if not self._inflate.eof:
            raise BadRequest("The layer is not a gzipped tar: it breaks off")
        self._check_tar()
        found = structs.replace(
            layer,
            gzip_digest=f"sha256:{self._gzip.hexdigest()}",
            gzip_size=self._gzip_size,
            tar_digest=f"sha256:{self._tar.hexdigest()}",
        )
        for name, claim in (("gzipDigest", "gzip_digest"), ("gzipSize", "gzip_size"), ("tarDigest", "tar_digest")):
            claimed, true = getattr(layer, claim), getattr(found, claim)
            if claimed not in {None, true}:
                raise DigestInvalid(f"The layer's {name} is {true}, not {claimed} as the request says")
        return found

    def _take(self, tar: bytes) -> None:
        self._tar_size += len(tar)
        if self._tar_size > self._limit:
            raise TooLarge(f"The layer unpacks to more than {self._limit} bytes")
        self._tar.update(tar)
        self._head += tar[: _BLOCK - len(self._head)]

    def _check_tar(self) -> None:
        if self._head == bytes(_BLOCK):
            return  # nothing but the end mark: an empty tar
        try:
            tarfile.TarInfo.frombuf(self._head, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise BadRequest("The layer is gzipped, but no tar") from error


def verify_layer(content: bytes, layer: ContainerLayer, limit: int = 1 << 30) -> ContainerLayer:
    """*layer* with its digests and size filled in, measured from its gzip *content*; the tar has at most *limit* bytes.

    Takes seconds for a GiB of tar: give big ones to a thread.

    Raises:
        BadRequest: *content* is no gzipped tar.
        DigestInvalid: *layer* claims something else.
        TooLarge: the tar has more than *limit* bytes.
    """
    return measure(content, limit).finish(layer)


def measure(content: bytes, limit: int) -> LayerMeter:
    """A meter that has seen all of *content*.

    Raises:
        BadRequest, TooLarge: as its `update` does.
    """
    meter = LayerMeter(limit)
    for start in range(0, len(content), _PIECE):
        meter.update(content[start : start + _PIECE])
    return meter
