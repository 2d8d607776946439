"""The entries of a folder, by the rules of Docker (contexts), and of layers."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from swell_client.packing.tar import EntryType

MAX_ENTRIES = 200_000


class Entry(Struct, frozen=True):
    """A file, folder or link at *path*, which gets *name* in the archive; *mode* has its permission bits."""

    name: str
    path: Path
    kind: EntryType
    mode: int
    mtime: int = 0
    target: str = ""

    @property
    def sort_key(self) -> bytes:
        """Archives are sorted by the UTF-16 code units of their names, as Java compares texts."""
        return self.name.encode("utf-16-be", "surrogatepass")


Skip = Callable[[str], bool]


def tree(
    directory: Path, *, leaves_out: Skip = lambda _: False, skips_folder: Skip = lambda _: False
) -> Iterator[Entry]:
    """All files, folders and symbolic links below *directory*; links stay links, other kinds of files are left out.

    A folder that is left out is there if something in it is not. Permission bits are kept.
    """
    yield from _below(directory, "", leaves_out, skips_folder)


def _below(directory: Path, prefix: str, leaves_out: Skip, skips_folder: Skip) -> Iterator[Entry]:
    with os.scandir(directory) as listed:
        for each in listed:
            name, path = prefix + each.name, directory / each.name
            status = each.stat(follow_symlinks=False)
            mode = stat.S_IMODE(status.st_mode) & 0o7777
            if stat.S_ISDIR(status.st_mode):
                if not skips_folder(name):
                    below = _below(path, f"{name}/", leaves_out, skips_folder)
                    first = next(below, None)
                    if first or not leaves_out(name):
                        yield Entry(f"{name}/", path, EntryType.FOLDER, mode)
                    if first:
                        yield first
                    yield from below
            elif leaves_out(name):
                continue
            elif stat.S_ISLNK(status.st_mode):
                yield Entry(name, path, EntryType.SYMLINK, 0o777, target=str(path.readlink()))
            elif stat.S_ISREG(status.st_mode):
                yield Entry(name, path, EntryType.FILE, mode)
