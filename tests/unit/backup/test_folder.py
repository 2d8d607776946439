"""The folder of a backup: complete, private, and every damage is found before anything is restored."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from swell.backup.folder import FORMAT, LIST, BackupFolder, BackupInvalid, Contents
from swell.backup.objects import ObjectRecord
from swell.backup.run import OBJECTS, STATE, verify
from swell.backup.state import StateRecord
from swell.errors import BadRequest


async def one(content: bytes) -> AsyncIterator[bytes]:
    yield content[:3]
    yield content[3:]


async def make(path: Path, **changes: object) -> BackupFolder:
    """A backup of one record and one object."""
    folder = BackupFolder(path)
    folder.create()
    with folder.writing(STATE) as writer:
        writer.write(StateRecord(b"swell:grant:x", "string", True, 0, [b"{}"]))
    with folder.writing(OBJECTS) as writer:
        digest, size = await folder.add(one(b"log of a build"))
        assert await folder.add(one(b"log of a build")) == (digest, size)
        writer.write(ObjectRecord(bucket="logs", key="bd-1_1.log", digest=digest, size=size))
    parts = (STATE, OBJECTS)
    contents = Contents(
        format=FORMAT,
        swell="0.2.0",
        created=datetime.now(UTC),
        parts=parts,
        files=folder.digests(parts),
        counts={STATE: 1, OBJECTS: 1},
    )
    folder.finish(msgspec.structs.replace(contents, **changes))
    return folder


async def test_a_complete_backup_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Only its owner can read it: it has tokens and hashes of keys."""
    folder = await make(tmp_path / "new")

    assert verify(folder.path).counts == {STATE: 1, OBJECTS: 1}
    assert [record.key for record in folder.records(STATE, StateRecord)] == [b"swell:grant:x"]
    (stored,) = folder.records(OBJECTS, ObjectRecord)
    assert b"".join(folder.pieces(stored.digest)) == b"log of a build"
    assert folder.path.stat().st_mode & 0o077 == 0
    assert [path.name for path in folder.path.iterdir() if path.name.startswith("tmp")] == []


async def test_a_backup_needs_a_new_folder(tmp_path: Path) -> None:
    """An older backup is never changed."""
    folder = await make(tmp_path / "new")
    with pytest.raises(BadRequest, match="not empty"):
        folder.create()


@pytest.mark.parametrize("name", ["state.records.gz", "objects.records.gz", "blobs/*/*", LIST])
@pytest.mark.parametrize("damage", ["bit", "cut", "missing"])
async def test_every_damage_is_found(tmp_path: Path, name: str, damage: str) -> None:
    """A changed bit, a file that is cut off, a file that is missing."""
    folder = await make(tmp_path / "new")
    (path,) = folder.path.glob(name)
    content = bytearray(path.read_bytes())
    match damage:
        case "bit":
            content[len(content) // 2] ^= 1
        case "cut":
            del content[len(content) // 2 :]
    path.write_bytes(content)
    if damage == "missing":
        path.unlink()

    if name == LIST and damage == "bit":
        return  # the list has no digest: a change of the time is not found, one of a digest or of the format is
    with pytest.raises(BackupInvalid):
        verify(folder.path)


async def test_a_backup_of_another_format_is_refused(tmp_path: Path) -> None:
    """A later version may write what this one cannot read."""
    folder = await make(tmp_path / "new", format=FORMAT + 1)
    with pytest.raises(BackupInvalid, match="format"):
        verify(folder.path)


async def test_a_digest_cannot_name_another_file(tmp_path: Path) -> None:
    """A backup from elsewhere must not read or overwrite files outside of its folder."""
    folder = BackupFolder(tmp_path / "new")
    folder.create()
    with folder.writing(OBJECTS) as writer:
        writer.write(ObjectRecord(bucket="b", key="k", digest="sha256:../../../etc/passwd", size=1))  # type: ignore[arg-type]
    with pytest.raises(BackupInvalid):
        list(folder.records(OBJECTS, ObjectRecord))
