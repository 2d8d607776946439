"""Archives that strangers made are unpacked inside of their directory, or refused."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from builder.adapters.context import add, unpack
from builder.domain.failure import BuildFailure
from swell.store.records import Reason

MIB = 1 << 20


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size = len(content)
    for field, value in fields.items():
        setattr(made, field, value)
    return made, content


def archive_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for made, content in members:
            archive.addfile(made, io.BytesIO(content))
    return path


def unpacked(archive: Path, limit: int = MIB) -> Path:
    directory = archive.parent / "context"
    directory.mkdir()
    unpack(archive, directory, limit=limit, owner=os.getuid())
    return directory


def test_files_keep_their_content_mode_and_time(tmp_path: Path) -> None:
    """The same context gives the same layers."""
    archive = archive_of(tmp_path / "a.tar.gz", member("bin/run", b"#!/bin/sh\n", mode=0o755, mtime=1_000_000))
    made = unpacked(archive) / "bin/run"
    assert made.read_bytes() == b"#!/bin/sh\n"
    assert (made.stat().st_mode & 0o777, made.stat().st_mtime) == (0o755, 1_000_000)


@pytest.mark.parametrize(
    "hostile",
    [
        [member("../outside", b"x")],
        [member("link", type=tarfile.SYMTYPE, linkname="/etc"), member("link/outside", b"x")],
        [member("link", type=tarfile.SYMTYPE, linkname="../.."), member("link/outside", b"x")],
        [member("link", type=tarfile.LNKTYPE, linkname="../outside")],
        [member("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    ],
)
def test_nothing_leaves_the_directory(tmp_path: Path, hostile: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    """We unpack as root."""
    with pytest.raises(BuildFailure) as caught:
        unpacked(archive_of(tmp_path / "a.tar.gz", *hostile))
    assert caught.value.reason is Reason.CONTEXT
    assert not (tmp_path / "outside").exists()


def test_an_absolute_name_is_below_the_directory(tmp_path: Path) -> None:
    """As every tar program has it."""
    assert (unpacked(archive_of(tmp_path / "a.tar.gz", member("/etc/x", b"x"))) / "etc/x").read_bytes() == b"x"


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    """A kilobyte that unpacks to gigabytes ends at the limit."""
    with pytest.raises(BuildFailure, match="too large"):
        unpacked(archive_of(tmp_path / "a.tar.gz", member("zeroes", bytes(8 * MIB))), limit=MIB)


def test_a_header_that_is_a_bomb_is_refused(tmp_path: Path) -> None:
    """Names are read into memory at once: a name may not be as large as a file."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 64 * MIB
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(header.tobuf() + b"x" * 64 * MIB))
    with pytest.raises(BuildFailure, match="header"):
        unpacked(tmp_path / "a.tar.gz", limit=1024 * MIB)


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no archive" * 100, mtime=0)[:-9]])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    """The user is told, not the operator."""
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(BuildFailure, match="cannot be unpacked"):
        unpacked(tmp_path / "a.tar.gz")


def added(tmp_path: Path) -> bytes:
    add(tmp_path / "conda.yml", io.BytesIO(b"ours"), owner=os.getuid())
    return (tmp_path / "conda.yml").read_bytes()


def test_a_file_of_ours_takes_the_place_of_the_archives(tmp_path: Path) -> None:
    """The environment that was asked for counts."""
    (tmp_path / "conda.yml").write_bytes(b"theirs, and longer")
    assert added(tmp_path) == b"ours"


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """It may lead to a file that the container file copies elsewhere."""
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "conda.yml").symlink_to("other")
    assert added(tmp_path) == b"ours"
    assert (tmp_path / "other").read_bytes() == b"other"


def test_a_directory_does_not_make_place(tmp_path: Path) -> None:
    """Whoever sent it is told."""
    (tmp_path / "conda.yml").mkdir()
    with pytest.raises(BuildFailure, match=r"conda\.yml is a directory") as caught:
        added(tmp_path)
    assert caught.value.reason is Reason.CONTEXT
