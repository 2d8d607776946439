"""Folders as Wave's command line packs them: files only, links are followed, folders without files are left out."""

import stat
from collections.abc import Iterator
from pathlib import Path

from swell_cli.wave.ignore import WaveIgnore
from swell_cli.wave.options import WaveError
from swell_client.packing import PackedLayer, PackError, pack
from swell_client.packing.tar import EntryType
from swell_client.packing.walk import Entry

CONTEXT_LIMIT = 5 << 20
LAYER_LIMIT = 1 << 20
LAYERS_LIMIT = 10 << 20


def pack_folder(folder: Path, *, limit: int, what: str, keeps_times: bool, ignores: bool = False) -> PackedLayer:
    """Pack *folder*, at most *limit* bytes; with *ignores*, its `.dockerignore` is applied.

    Raises:
        WaveError: it cannot be packed.
    """
    try:
        file = folder / ".dockerignore"
        ignore = WaveIgnore(file.read_text().splitlines() if ignores and file.is_file() else ())
        return pack(_entries(folder, "", ignore, keeps_times), limit=limit, what=what)
    except (PackError, ValueError, OSError) as error:
        raise WaveError(str(error)) from error


def _entries(folder: Path, prefix: str, ignore: WaveIgnore, keeps_times: bool) -> Iterator[Entry]:
    for path in folder.iterdir():
        name = prefix + path.name
        if path.is_dir() and not path.is_symlink():
            yield from _entries(path, f"{name}/", ignore, keeps_times)
        elif not ignore.leaves_out(name):
            status = path.stat()  # of the target of a link; a link without one is an error
            mode, mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime) if keeps_times else 0
            if stat.S_ISDIR(status.st_mode):
                yield Entry(f"{name}/", path, EntryType.FOLDER, mode, mtime)
            elif stat.S_ISREG(status.st_mode):
                yield Entry(name, path, EntryType.FILE, mode, mtime)
