"""Write the `pixi.lock` of an environment, in addition to conda's explicit list.

Source: pixi, "Lock file", https://pixi.sh/latest/workspace/lockfile/
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec
from rattler import Channel, LockFile, LockPlatform, PackageRecord, RepoDataRecord

from builder.conda.model.lock import LockedPackage
from builder.conda.model.package import Package


class _Archive(Protocol):
    @property
    def source(self) -> LockedPackage: ...
    @property
    def package(self) -> Package: ...
    @property
    def size(self) -> int: ...


def pixi_lock(archives: Iterable[_Archive], subdir: str, folder: Path) -> bytes:
    """Return the `pixi.lock` of *archives* for *subdir*; *folder* is for two temporary files."""
    index, lock = folder / "index.json", folder / "pixi.lock"
    platform, known = LockPlatform(subdir), sorted(archives, key=lambda archive: archive.source)
    made = LockFile([platform])
    for archive in known:
        index.write_bytes(msgspec.json.encode(archive.package.index))
        source = archive.source
        record = PackageRecord.from_index_json(index, archive.size, source.sha256)
        made.add_conda_package("default", platform, RepoDataRecord(record, source.file, source.url, source.channel))
    channels = dict.fromkeys(archive.source.channel for archive in known)
    made.set_channels("default", [Channel(channel).to_lock_channel() for channel in channels])
    made.to_path(lock)
    content = lock.read_bytes()
    index.unlink(missing_ok=True)
    lock.unlink()
    return content
