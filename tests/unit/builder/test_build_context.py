"""Archives that strangers made are unpacked inside of their directory, or refused."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from builder.adapters.inputs.build_context import add, unpack
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
        [member("link", type=tarfile.LNKTYPE, linkname="/etc/passwd")],
        [member("inner"), member("inner/outside", b"x")],
        [member("folder", type=tarfile.DIRTYPE), member("folder", b"x")],
        [member("n" * 300, b"x")],
        [member("d/" * 3000 + "f", b"x")],
        [member("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
        [member("pipe", type=tarfile.FIFOTYPE)],
    ],
)
def test_nothing_leaves_the_directory(tmp_path: Path, hostile: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    """We unpack as root."""
    with pytest.raises(BuildFailure) as caught:
        unpacked(archive_of(tmp_path / "a.tar.gz", *hostile))
    assert caught.value.reason is Reason.CONTEXT
    assert not (tmp_path / "outside").exists()


def deep_links() -> list[tuple[tarfile.TarInfo, bytes]]:
    """Links to a folder deeper than any path may be long, where `realpath` gives up and believes what it has."""
    folder, made, names = "", list[tuple[tarfile.TarInfo, bytes]](), "abcdefghijklmnop"
    for name in names:
        made.append(member(f"{folder}{'d' * 247}", type=tarfile.DIRTYPE, mode=0o755))
        made.append(member(f"{folder}{name}", type=tarfile.SYMTYPE, linkname="d" * 247))
        folder += "d" * 247 + "/"
    last = "/".join(names) + "/" + "l" * 254
    made.append(member(last, type=tarfile.SYMTYPE, linkname="../" * len(names)))
    return [*made, member("escape", type=tarfile.SYMTYPE, linkname=last + "/..")]


@pytest.mark.parametrize("name", ["escape/outside", "escape"])
def test_names_lead_through_no_link(tmp_path: Path, name: str) -> None:
    """The path of CVE-2025-4517 leads anywhere on the machine if it is checked before it is used."""
    hostile = [*deep_links(), member("file", type=tarfile.LNKTYPE, linkname=name), member(name, b"x")]
    with pytest.raises(BuildFailure) as caught:
        unpacked(archive_of(tmp_path / "a.tar.gz", *hostile))
    assert caught.value.reason is Reason.CONTEXT
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar.gz", "context"}


def test_a_refusal_contains_no_path_of_this_machine(tmp_path: Path) -> None:
    """The message does not reveal the builder's directories."""
    with pytest.raises(BuildFailure) as caught:
        unpacked(archive_of(tmp_path / "a.tar.gz", member("link", type=tarfile.SYMTYPE, linkname="../../etc")))
    assert str(caught.value) == "The build context cannot be unpacked: 'link': the link leads outside."


def test_links_inside_and_permissions_are_kept(tmp_path: Path) -> None:
    """What COPY puts into an image looks as it did where it came from."""
    members = [
        member("folder", type=tarfile.DIRTYPE, mode=0o750, mtime=1_000_000),
        member("folder/file", b"x", mode=0o664),
        member("folder/link", type=tarfile.SYMTYPE, linkname="../file"),
        member("file", type=tarfile.LNKTYPE, linkname="folder/file"),
        member("folder/file", b"y", mode=0o600),
    ]
    made = unpacked(archive_of(tmp_path / "a.tar.gz", *members))
    assert (made / "folder/link").read_bytes() == b"x"
    assert (made / "folder/file").read_bytes() == b"y"
    assert [path.stat().st_mode & 0o777 for path in (made / "folder", made / "file")] == [0o750, 0o664]
    assert (made / "folder").stat().st_mtime == 1_000_000


@pytest.mark.parametrize("time", ["inf", "-1", "1e300"])
def test_a_time_that_no_file_can_have_breaks_nothing(tmp_path: Path, time: str) -> None:
    """The time comes from the archive and is harmless."""
    archive = archive_of(tmp_path / "a.tar.gz", member("file", b"x", pax_headers={"mtime": time}))
    assert (unpacked(archive) / "file").read_bytes() == b"x"


def test_a_file_of_holes_is_refused(tmp_path: Path) -> None:
    """The size of a sparse file counts, not its data in the archive: a copy has the full size."""
    header = tarfile.TarInfo("holes")
    header.type, header.size = tarfile.GNUTYPE_SPARSE, 0
    raw = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    raw[483:495] = b"%011o\0" % (1 << 40)
    raw[148:156] = b"        "
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(bytes(raw) + bytes(1024)))
    with pytest.raises(BuildFailure, match="too large"):
        unpacked(tmp_path / "a.tar.gz")


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
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 16 * MIB
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(header.tobuf() + b"x" * 16 * MIB))
    with pytest.raises(BuildFailure, match="header"):
        unpacked(tmp_path / "a.tar.gz", limit=1024 * MIB)


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no archive" * 100, mtime=0)[:-9]])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    """The error is reported to the user, not to the operator."""
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(BuildFailure, match="cannot be unpacked"):
        unpacked(tmp_path / "a.tar.gz")


def added(tmp_path: Path) -> bytes:
    add(tmp_path / "conda.yml", io.BytesIO(b"ours"), owner=os.getuid())
    return (tmp_path / "conda.yml").read_bytes()


def test_a_file_of_ours_takes_the_place_of_the_archives(tmp_path: Path) -> None:
    """The requested environment replaces a file of the archive."""
    (tmp_path / "conda.yml").write_bytes(b"theirs, and longer")
    assert added(tmp_path) == b"ours"


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """It may lead to a file that the container file copies elsewhere."""
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "conda.yml").symlink_to("other")
    assert added(tmp_path) == b"ours"
    assert (tmp_path / "other").read_bytes() == b"other"


def test_a_directory_does_not_make_place(tmp_path: Path) -> None:
    """The error is reported to the client."""
    (tmp_path / "conda.yml").mkdir()
    with pytest.raises(BuildFailure, match=r"conda\.yml is a directory") as caught:
        added(tmp_path)
    assert caught.value.reason is Reason.CONTEXT
