"""Read an image from an OCI layout: its documents, and the headers and contents of its layers.

The layers are untrusted. Nothing is unpacked: members are read one by one, in bounded memory.
Sources: OCI image-spec, "OCI Image Layout Specification",
https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md; pax(1), "pax Interchange Format",
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html, and the extensions of GNU tar.
"""

import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from builder.sif.rootfs import LayerInvalid
from swell.archives.gunzip import open_gzip
from swell.archives.tar import LARGEST_READ, TarReader
from swell.errors import DigestInvalid, ManifestInvalid
from swell.oci.digest import Digest, digest_of, hex_of, parse_digest
from swell.oci.document import Document, detect

_DOCUMENT_BYTES = 4 << 20

_GZIP = b"\x1f\x8b"


class Layout:
    """The single image in the OCI layout *directory*; methods raise `LayerInvalid` if it is malformed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._manifest = self._read_manifest()

    @property
    def config(self) -> Document:
        descriptor = self._manifest.config
        return Document(descriptor.media_type, self._document(descriptor.digest))

    @property
    def layers(self) -> tuple[Digest, ...]:
        """Return the layers' digests, lowest first."""
        return tuple(layer.digest for layer in self._manifest.layers)

    @contextmanager
    def members(self, layer: Digest) -> Iterator["Members"]:
        """Open *layer* and iterate over its members in order."""
        with self._blob(layer) as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            with _understood():
                archive = TarReader(open_gzip(file) if packed else file)
            with archive:
                yield Members(archive)

    def _read_manifest(self) -> Document:
        with open_plain(self._directory / "index.json") as file:
            index = Document("", file.read(_DOCUMENT_BYTES))
        with _understood():
            (entry,) = index.manifests
            return detect(entry.media_type, self._document(entry.digest))

    def _document(self, digest: Digest) -> bytes:
        with self._blob(digest) as file:
            content = file.read(_DOCUMENT_BYTES)
        if digest_of(content) != digest:
            raise LayerInvalid(f"the document {digest} does not match its digest")
        return content

    def _blob(self, digest: Digest) -> BufferedReader:
        with _understood():
            return open_plain(self._directory / "blobs/sha256" / hex_of(parse_digest(digest)))


class Members:
    """Iterates over a tar's members with their numbers; `content` reads the current one."""

    def __init__(self, archive: TarReader) -> None:
        self._archive = archive
        self._members = enumerate(archive)

    def __iter__(self) -> Iterator[tuple[int, tarfile.TarInfo]]:
        while True:
            with _understood():
                numbered = next(self._members, None)
            if numbered is None:
                return
            yield numbered

    def content(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        """Yield the bytes of the file *member*, exactly as many as its header declares."""
        with _understood():
            source, left = self._archive.content(member), member.size
            while left:
                piece = source.read(min(left, LARGEST_READ))
                if not piece:
                    raise LayerInvalid(f"{member.name[:200]!r} is truncated")
                left -= len(piece)
                yield piece


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, KeyError) as error:
        raise LayerInvalid(f"a layer of the image cannot be read: {error}") from error
    except (ManifestInvalid, DigestInvalid) as error:
        raise LayerInvalid(str(error)) from error


def open_plain(path: Path) -> BufferedReader:
    """Open *path* if it is a regular file; symlinks, which the build may have created, are not followed.

    Raises:
        LayerInvalid: it is not.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise LayerInvalid(f"the image has no {path.name}") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise LayerInvalid(f"{path.name} of the image is not a file")
    return file
