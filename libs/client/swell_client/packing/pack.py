"""Pack entries into a gzipped tar with known digests. Files are read in pieces, so memory does not grow with them."""

import base64
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from swell.api.containers import ContainerLayer
from swell_client.packing.docker_ignore import DockerIgnore
from swell_client.packing.tar import END, EntryType, headers, padding
from swell_client.packing.walk import MAX_ENTRIES, Entry, tree

CONTEXT_LIMIT = 17 << 20
"""Bytes of a compressed context or layer: its base64 must fit into a request, which has at most 24 MiB."""
UNPACKED_LIMIT = 1 << 30

_PIECE = 1 << 20
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # no name, no time, an unknown system
_MIB = 1 << 20

Progress = Callable[[int], object]
"""Called with the number of bytes that have been read or sent so far."""


class PackError(ValueError):
    """The folder cannot be packed; the message says why and what to do."""


class PackedLayer(Struct, frozen=True):
    """A gzipped tar: its bytes, and the digests (`sha256:…`) of the compressed and of the uncompressed archive."""

    content: bytes
    gzip_digest: str
    tar_digest: str

    @property
    def layer(self) -> ContainerLayer:
        """The layer or context of a request."""
        return ContainerLayer(
            location="data:" + base64.b64encode(self.content).decode(),
            gzip_digest=self.gzip_digest,
            gzip_size=len(self.content),
            tar_digest=self.tar_digest,
        )


def pack_context(
    directory: Path, containerfile: Path | None = None, *, progress: Progress | None = None
) -> PackedLayer:
    """Pack *directory* as `docker build` does: what its `.dockerignore` leaves out is left out.

    `NAME.dockerignore` beside the container file `NAME` is used in the place of `.dockerignore`, as with Docker.

    Raises:
        PackError: it is not a folder, is too large, or cannot be read; or a pattern is malformed.
    """
    own = containerfile.with_name(f"{containerfile.name}.dockerignore") if containerfile else None
    file = own if own and own.is_file() else directory / ".dockerignore"
    try:
        ignore = DockerIgnore(file.read_text(errors="surrogateescape").splitlines() if file.is_file() else ())
    except ValueError as error:
        raise PackError(f"{file}: {error}") from error

    def leaves_out(path: str) -> bool:
        # The server applies a `.dockerignore` too, so one that another file replaces must not be sent.
        return ignore.leaves_out(path) or (file is own and path == ".dockerignore")

    _require_folder(directory)
    return pack(tree(directory, leaves_out=leaves_out, skips_folder=ignore.skips_folder), progress=progress)


def pack_layer(directory: Path, *, progress: Progress | None = None) -> PackedLayer:
    """Pack all of *directory* as a layer: its content appears at the root of the image.

    Raises:
        PackError: it is not a folder, is too large, or cannot be read.
    """
    _require_folder(directory)
    return pack(tree(directory), progress=progress)


def pack(
    entries: Iterable[Entry], *, limit: int = CONTEXT_LIMIT, what: str = "it", progress: Progress | None = None
) -> PackedLayer:
    """Pack *entries*, sorted by name, into at most *limit* bytes of gzip. Times are 0 unless an entry has one.

    Raises:
        PackError: there are too many, they are too large, or one cannot be read.
    """
    listed = list[Entry]()
    try:
        for entry in entries:
            listed.append(entry)
            if len(listed) > MAX_ENTRIES:
                raise PackError(f"more than {MAX_ENTRIES:,} files: leave some out with .dockerignore")
    except OSError as error:
        raise PackError(f"{error.filename}: {error.strerror}") from error
    listed.sort(key=lambda entry: entry.sort_key)
    return _compressed(_archive(listed), limit, what, progress)


def _require_folder(directory: Path) -> None:
    if not directory.is_dir():
        raise PackError(f"{directory} is not a folder")


def _archive(entries: list[Entry]) -> Iterator[bytes]:
    for entry in entries:
        try:
            yield from _entry(entry)
        except OSError as error:
            raise PackError(f"{entry.path}: {error.strerror}") from error
        except ValueError as error:
            raise PackError(f"{entry.path}: {error}") from error
    yield END


def _entry(entry: Entry) -> Iterator[bytes]:
    if entry.kind is not EntryType.FILE:
        yield headers(entry.name, entry.kind, mode=entry.mode, mtime=entry.mtime, target=entry.target)
        return
    with entry.path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        yield headers(entry.name, entry.kind, mode=entry.mode, size=size, mtime=entry.mtime)
        left = size
        while left:
            piece = file.read(min(_PIECE, left))
            if not piece:
                raise PackError(f"{entry.path} became shorter while it was read")
            left -= len(piece)
            yield piece
        yield padding(size)


def _compressed(pieces: Iterator[bytes], limit: int, what: str, progress: Progress | None) -> PackedLayer:
    compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
    tar, crc, size = hashlib.sha256(), 0, 0
    content = bytearray(_GZIP_HEADER)
    for piece in pieces:
        tar.update(piece)
        crc, size = zlib.crc32(piece, crc), size + len(piece)
        content += compressor.compress(piece)
        if len(content) > limit or size > UNPACKED_LIMIT:
            raise PackError(f"{what} has more than {_too_much(content, limit)}: leave files out with .dockerignore")
        if progress:
            progress(size)
    content += compressor.flush() + crc.to_bytes(4, "little") + (size % 2**32).to_bytes(4, "little")
    if len(content) > limit:
        raise PackError(f"{what} has more than {limit / _MIB:g} MiB compressed: leave files out with .dockerignore")
    packed = bytes(content)
    return PackedLayer(packed, f"sha256:{hashlib.sha256(packed).hexdigest()}", f"sha256:{tar.hexdigest()}")


def _too_much(content: bytearray, limit: int) -> str:
    return f"{limit / _MIB:g} MiB compressed" if len(content) > limit else f"{UNPACKED_LIMIT / _MIB:g} MiB"
