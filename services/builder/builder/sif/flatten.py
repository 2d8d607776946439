"""Flatten an image into one tar stream: its merged layers, and the files that Apptainer needs."""

import tarfile
from collections.abc import Iterator, Mapping
from typing import IO

from msgspec import Struct

from builder.sif.layout import Layout
from builder.sif.rootfs import Attributes, LayerInvalid, Origin, Rootfs
from builder.sif.singularity import DIRECTORIES, LINKS, MOUNT_FILES, PLAIN
from swell.jobs.messages import POST_FILE

_BLOCK = 512
LATEST = 2**32 - 1  # of a time in squashfs, in Unix seconds
_MAX_ID = 2**32 - 1
_DEVICES = (tarfile.CHRTYPE, tarfile.BLKTYPE)


class Flattened(Struct, frozen=True):
    """The merged names of an image and the added files; *added* has the added files by member number."""

    rootfs: Rootfs
    added: tuple[tarfile.TarInfo, ...]
    contents: tuple[bytes, ...]


def flatten(layout: Layout, files: Mapping[str, str]) -> Flattened:
    """Read the names in all layers of *layout*, and add *files* and the other files of Apptainer on top.

    Raises:
        LayerInvalid: no image may look like that.
    """
    rootfs = Rootfs()
    for layer in layout.layers:
        rootfs.begin_layer()
        with layout.members(layer) as members:
            for number, member in members:
                _add(rootfs, number, member)
    return _with_ours(rootfs, files)


def write(layout: Layout, flattened: Flattened, out: IO[bytes], limit: int) -> None:
    """Write the tar of *flattened*, an image of *layout*, to *out*. Equal inputs give equal bytes.

    Raises:
        LayerInvalid: its files have more than *limit* bytes, or one breaks off.
    """
    for name, attributes in flattened.rootfs.directories():
        if name:
            out.write(_header(_directory(name, attributes)))
    names = flattened.rootfs.names()
    left = limit
    for number, layer in enumerate(layout.layers):
        with layout.members(layer) as members:
            for at, member in members:
                if found := names.get(Origin(number, at)):
                    left -= member.size
                    if left < 0:
                        raise LayerInvalid(f"the files of the image have more than {limit} bytes")
                    _write_file(out, member, found, members.content(member) if member.isfile() else iter(()))
    for at, (member, content) in enumerate(zip(flattened.added, flattened.contents, strict=True)):
        _write_file(out, member, names[Origin(len(layout.layers), at)], iter((content,)))
    out.write(bytes(2 * _BLOCK))


def _add(rootfs: Rootfs, number: int, member: tarfile.TarInfo) -> None:
    if member.isdir():
        rootfs.directory(member.name, Attributes(*_owned(member)))
    elif member.islnk():
        rootfs.hard_link(member.name, member.linkname)
    elif member.type not in _DEVICES:  # Apptainer provides devices itself
        rootfs.file(member.name, number)


def _with_ours(rootfs: Rootfs, files: Mapping[str, str]) -> Flattened:
    """Add *files*, which replace the image's; create links and mount points only where the image has none."""
    rootfs.begin_layer()
    rootfs.file(f".wh.{POST_FILE}", 0)  # its mount point during the build
    for name, mode in DIRECTORIES.items():
        if not rootfs.has(name):
            rootfs.directory(name, Attributes(mode))
    rootfs.directory(".singularity.d/libs", Attributes())
    added = [(_file(name, text), text.encode("utf-8", "surrogateescape")) for name, text in sorted(files.items())]
    mounts = [name for name in MOUNT_FILES if rootfs.is_directory("etc") and not rootfs.has(name)]
    added += [(_file(name, ""), b"") for name in mounts]
    added += [(_link(name, target), b"") for name, target in LINKS.items() if not rootfs.has(name)]
    for number, (member, _) in enumerate(added):
        rootfs.file(member.name, number)
    return Flattened(rootfs, tuple(member for member, _ in added), tuple(content for _, content in added))


def _write_file(out: IO[bytes], member: tarfile.TarInfo, names: list[str], content: Iterator[bytes]) -> None:
    """Write *member* under the first of *names*, and the others as hard links to it."""
    first, *others = names
    out.write(_header(_clean(member, first)))
    if member.isfile():
        for piece in content:
            out.write(piece)
        out.write(bytes(-member.size % _BLOCK))
    for name in others:
        link = _clean(member, name)
        link.type, link.linkname, link.size = tarfile.LNKTYPE, first, 0
        out.write(_header(link))


def _clean(member: tarfile.TarInfo, name: str) -> tarfile.TarInfo:
    """Return *member* without extended attributes and user names."""
    made = tarfile.TarInfo(name)
    made.mode, made.uid, made.gid, made.mtime = _owned(member)
    made.type, made.linkname = member.type, member.linkname if member.issym() else ""
    if member.isfile():
        made.type, made.size = tarfile.REGTYPE, member.size
    return made


def _owned(member: tarfile.TarInfo) -> tuple[int, int, int, int]:
    owners = (min(max(owner, 0), _MAX_ID) for owner in (member.uid, member.gid))
    return member.mode & 0o7777, *owners, int(min(max(member.mtime, 0), LATEST))  # type: ignore[return-value]


def _directory(name: str, attributes: Attributes) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = tarfile.DIRTYPE
    made.mode, made.uid, made.gid, made.mtime = attributes
    return made


def _file(name: str, text: str) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size = len(text.encode("utf-8", "surrogateescape"))
    made.mode = 0o644 if name in PLAIN or name in MOUNT_FILES else 0o755
    return made


def _link(name: str, target: str) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = tarfile.SYMTYPE, target, 0o777
    return made


def _header(member: tarfile.TarInfo) -> bytes:
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
