"""Write layers: gzipped tars whose bytes depend only on their packages.

Owners are root, modes are 0755 or 0644, times are those of the package (compiled Python is tied to them), and 0 for
what we write. Folders stand in each layer that needs them, always the same. The digest of the compressed bytes depends
on zlib as well: another implementation of it (zlib-ng) makes other ones of the same tar.
"""

import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import msgspec
from msgspec import Struct

from builder.conda.archive import Contents
from builder.conda.model.lock import LockedPackage
from builder.conda.model.package import Link, Malformed, Package, PackagePath
from builder.conda.model.prefix import PREFIX, with_prefix
from builder.domain.failure import BuildFailure
from swell.oci.digest import Digest
from swell.store.records import Reason

LEVEL = 5  # for programs: 1.5 times as fast as 6, and 1 % larger
_GZIP = 16 + zlib.MAX_WBITS  # with a gzip header that has no name and no time
_PIECE = 1 << 20
_MAX_TIME = 0o77777777777
_COPIES = 4  # of a file that are in memory while its prefix is replaced


class Layer(Struct, frozen=True, kw_only=True):
    """A layer in the file `path`: `digest` and `size` are of its compressed bytes, `diff_id` is of the tar."""

    path: Path
    digest: Digest
    diff_id: Digest
    size: int


class LayerWriter:
    """Writes one layer; `layer` is set when its block has ended."""

    def __init__(self, tar: tarfile.TarFile, memory: int) -> None:
        self._tar = tar
        self._memory = memory
        self._folders: set[str] = set()
        self.layer: Layer | None = None

    def file(self, target: str, content: bytes, *, executable: bool = False, time: int = 0) -> None:
        """Write *content* to *target*, a path below the prefix."""
        member = self._member(target, time)
        member.size, member.mode = len(content), 0o755 if executable else 0o644
        self._tar.addfile(member, io.BytesIO(content))

    def folder(self, target: str) -> None:
        self._parents(f"{PREFIX}/{target}/x")

    def package(self, package: Package, source: LockedPackage, links: Iterable[Link], contents: Contents) -> None:
        """Write the *links* of *package*, and then its record for `conda list`; *source* is its locked archive.

        Raises:
            Malformed: a file is not in the archive, or is not what the package says it is.
        BuildFailure: a file that must be changed is too large for the memory.
        """
        described = []
        originals: dict[int, str] = {}
        for link in sorted(links, key=lambda link: link.target):
            found = self._link(link, contents, originals)
            described.append({"_path": link.target, **found})
        self.file(f"conda-meta/{package.record}.json", _record(package, source, described))

    def _link(self, link: Link, contents: Contents, originals: dict[int, str]) -> dict[str, Any]:
        path = link.source
        if path is None:
            self.file(link.target, link.content, executable=True)
            digest = hashlib.sha256(link.content).hexdigest()
            return {"path_type": "unix_python_entry_point", "sha256_in_prefix": digest}
        if path.path_type == "directory":
            self.folder(link.target)
            return {"path_type": "directory"}
        found = contents.find(path.path)
        entry = {"path_type": path.path_type, "sha256": path.sha256, "size_in_bytes": path.size_in_bytes}
        if found.issym():
            member = self._member(link.target, _time(found))
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, _destination(found, path), 0o777
            self._tar.addfile(member)
            return entry | {"path_type": "softlink"}
        if not found.isfile():
            raise Malformed(f"{path.path[:200]!r} is neither a file nor a link in the archive")
        if path.prefix_placeholder:
            return entry | self._changed(link.target, path, found, contents)
        member, original = self._member(link.target, _time(found)), originals.setdefault(found.offset, link.target)
        member.mode = _mode(found)
        if original != link.target:
            member.type, member.linkname = tarfile.LNKTYPE, f"{PREFIX}/{original}"
            self._tar.addfile(member)
        else:
            member.size = found.size
            self._tar.addfile(member, cast(IO[bytes], _Pieces(contents.pieces(found))))
        return entry

    def _changed(self, target: str, path: PackagePath, found: tarfile.TarInfo, contents: Contents) -> dict[str, Any]:
        if found.size * _COPIES > self._memory:
            message = (
                f"{path.path[:200]!r} contains the prefix and is too large to replace it within the memory of a build."
            )
            raise BuildFailure(Reason.MEMORY, message)
        mode, placeholder = path.file_mode or "text", path.prefix_placeholder or ""
        try:
            content = with_prefix(b"".join(contents.pieces(found)), placeholder, mode)
        except ValueError as error:
            raise Malformed(f"{path.path[:200]!r}: {error}") from error
        self.file(target, content, executable=_mode(found) == 0o755, time=_time(found))
        in_prefix = hashlib.sha256(content).hexdigest()
        return {"prefix_placeholder": placeholder, "file_mode": mode, "sha256_in_prefix": in_prefix}

    def _member(self, target: str, time: int = 0) -> tarfile.TarInfo:
        name = f"{PREFIX}/{target}"
        self._parents(name)
        member = tarfile.TarInfo(name)
        member.mtime = time
        return member

    def _parents(self, name: str) -> None:
        parts = name.split("/")
        for count in range(1, len(parts)):
            folder = "/".join(parts[:count])
            if folder not in self._folders:
                self._folders.add(folder)
                member = tarfile.TarInfo(folder)
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                self._tar.addfile(member)


@contextmanager
def writing(path: Path, *, memory: int) -> Iterator[LayerWriter]:
    """Open a layer at *path* for writing; *memory* limits the bytes of a file whose prefix is replaced."""
    with path.open("xb") as file:
        sink = _Sink(file)
        with tarfile.open(fileobj=cast(Any, sink), mode="w", format=tarfile.PAX_FORMAT) as tar:
            cast(Any, tar).copybufsize = _PIECE  # missing in the types of `open`
            writer = LayerWriter(tar, memory)
            yield writer
        writer.layer = sink.end(path)


class _Sink:
    """Compresses the tar that is written to it; counts and hashes the tar and the compressed bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
        self._tar, self._blob = hashlib.sha256(), hashlib.sha256()
        self._taken = self._written = 0

    def tell(self) -> int:
        return self._taken

    def write(self, content: bytes) -> int:
        self._taken += len(content)
        self._tar.update(content)
        self._put(self._packer.compress(content))
        return len(content)

    def end(self, path: Path) -> Layer:
        self._put(self._packer.flush())
        digest, diff_id = (Digest(f"sha256:{found.hexdigest()}") for found in (self._blob, self._tar))
        return Layer(path=path, digest=digest, diff_id=diff_id, size=self._written)

    def _put(self, packed: bytes) -> None:
        self._blob.update(packed)
        self._written += self._file.write(packed)


class _Pieces:
    """A readable file made of pieces of bytes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        content, self._rest = self._rest[:size], self._rest[size:]
        return content


def _mode(member: tarfile.TarInfo) -> int:
    return 0o755 if member.mode & 0o111 else 0o644


def _time(member: tarfile.TarInfo) -> int:
    return int(min(max(member.mtime, 0), _MAX_TIME))  # a tar may declare any time, even infinity


def _destination(member: tarfile.TarInfo, path: PackagePath) -> str:
    if path.prefix_placeholder:
        return member.linkname.replace(path.prefix_placeholder, f"/{PREFIX}")
    return member.linkname


def _record(package: Package, source: LockedPackage, described: list[dict[str, Any]]) -> bytes:
    fields = {
        **package.index,
        "url": source.url,
        "fn": source.file,
        "channel": source.channel,
        "subdir": source.subdir,
        "sha256": source.sha256,
        "files": [path["_path"] for path in described],
        "paths_data": {
            "paths_version": 1,
            "paths": [{k: v for k, v in path.items() if v is not None} for path in described],
        },
        "link": {"source": "", "type": 1},
        "extracted_package_dir": "",
        "package_tarball_full_path": "",
    }
    return msgspec.json.format(msgspec.json.encode(fields, order="deterministic"), indent=2) + b"\n"
