"""Layers that clients add to an image: gzipped tar files, whose digests and sizes are verified."""

import hashlib
import tarfile

from msgspec import structs

from swell.api.containers import ContainerLayer
from swell.archives.gunzip import BadGzip, Gunzip
from swell.errors import BadRequest, DigestInvalid, TooLarge

_PIECE = 1 << 20
_BLOCK = 512


class LayerMeter:
    """Hashes a stream of a gzipped tar, and the tar inside; the tar may have at most *limit* bytes.

    No file is extracted. A gzip file may have several members, as parallel compressors write them.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._gzip = hashlib.sha256()
        self._gzip_size = 0
        self._tar = hashlib.sha256()
        self._tar_size = 0
        self._head = b""
        self._gunzip = Gunzip()

    @property
    def tar_size(self) -> int:
        """The bytes of the tar so far."""
        return self._tar_size

    def update(self, piece: bytes) -> None:
        """Process the next *piece* of the gzip stream; takes some milliseconds for each MiB of tar.

        Raises:
            BadRequest: it is not gzip.
            TooLarge: the tar has more than the limit.
        """
        self._gzip.update(piece)
        self._gzip_size += len(piece)
        try:
            for tar in self._gunzip.inflate(piece):
                self._take(tar)
        except BadGzip as error:
            raise BadRequest("The layer is not a gzipped tar: it cannot be inflated") from error

    def finish(self, layer: ContainerLayer) -> ContainerLayer:
        """Return *layer* with the measured digests and size, after comparing those it has.

        Raises:
            BadRequest: the gzip stream is incomplete, or does not contain a tar.
            DigestInvalid: a digest or the size is wrong; the message has the correct one.
        """
        try:
            for tar in self._gunzip.finish():
                self._take(tar)
        except BadGzip as error:
            raise BadRequest("The layer is not a gzipped tar: it breaks off") from error
        self._check_tar()
        measured = structs.replace(
            layer,
            gzip_digest=f"sha256:{self._gzip.hexdigest()}",
            gzip_size=self._gzip_size,
            tar_digest=f"sha256:{self._tar.hexdigest()}",
        )
        for name, claim in (("gzipDigest", "gzip_digest"), ("gzipSize", "gzip_size"), ("tarDigest", "tar_digest")):
            claimed, true = getattr(layer, claim), getattr(measured, claim)
            if claimed not in {None, true}:
                raise DigestInvalid(f"The layer's {name} is {true}, not {claimed} as the request says")
        return measured

    def _take(self, tar: bytes) -> None:
        self._tar_size += len(tar)
        if self._tar_size > self._limit:
            raise TooLarge(f"The layer unpacks to more than {self._limit} bytes")
        self._tar.update(tar)
        self._head += tar[: _BLOCK - len(self._head)]

    def _check_tar(self) -> None:
        if self._head == bytes(_BLOCK):
            return  # only the end mark: an empty tar
        try:
            tarfile.TarInfo.frombuf(self._head, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise BadRequest("The layer is gzipped, but not a tar") from error


def verify_layer(content: bytes, layer: ContainerLayer, limit: int = 1 << 30) -> ContainerLayer:
    """Return *layer* with the digests and size of its gzip *content*; the tar has at most *limit* bytes.

    Takes seconds for a GiB of tar: call it in a thread.

    Raises:
        BadRequest: *content* is not a gzipped tar.
        DigestInvalid: a digest or the size of *layer* is wrong.
        TooLarge: the tar has more than *limit* bytes.
    """
    return measure(content, limit).finish(layer)


def measure(content: bytes, limit: int) -> LayerMeter:
    """Return a meter that has processed *content*.

    Raises:
        BadRequest, TooLarge: see `LayerMeter.update`.
    """
    meter = LayerMeter(limit)
    for start in range(0, len(content), _PIECE):
        meter.update(content[start : start + _PIECE])
    return meter
