"""Packing folders: the same files give the same bytes, with the names and limits of contexts and layers."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from swell_client.packing import DockerIgnore, PackError, pack, pack_context, pack_layer
from swell_client.packing.tar import EntryType, headers
from swell_client.packing.walk import tree
from tests.fixtures.docker_ignore import CASES

VECTOR = {
    "main.nf": "I'm the main file",
    "this/hello.txt": "Hello",
    "this/hola.txt": "Hola",
    "this/that/ciao.txt": "Ciao",
}


def write(folder: Path, files: dict[str, str], mode: int = 0o644) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)
    return folder


def names(content: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as archive:
        return [member.name + ("/" if member.isdir() else "") for member in archive]


def test_the_bytes_are_those_of_waves_clients(tmp_path: Path) -> None:
    """Their ids depend on these digests, so another form would build every image again."""
    write(tmp_path, VECTOR, 0o600)
    for folder in ("this", "this/that"):
        (tmp_path / folder).chmod(0o700)

    packed = pack_layer(tmp_path)

    assert packed.tar_digest == "sha256:f556b94e9b6f5f72b86e44833614b465df9f65cb4210e3f4416292dca1618360"
    assert packed.gzip_digest == "sha256:e58685a82452a11faa926843e7861c94bdb93e2c8f098b5c5354ec9b6fee2b68"
    assert len(packed.content) == packed.layer.gzip_size == 251


def test_times_and_order_on_disk_do_not_count(tmp_path: Path) -> None:
    """A second checkout of the same files must be the same build."""
    first = write(tmp_path / "a", dict(VECTOR))
    second = write(tmp_path / "b", dict(reversed(VECTOR.items())))
    os.utime(second / "main.nf", (1, 1))

    assert pack_layer(first).content == pack_layer(second).content


def test_long_names_and_links_are_read_back(tmp_path: Path) -> None:
    """Other programs unpack the archive: names and targets above 100 bytes, and letters of all languages."""
    long = "/".join(["folder-" * 5] * 4)
    write(tmp_path, {f"{long}/é.txt": "x"})
    (tmp_path / "link").symlink_to("main.nf")
    (tmp_path / "far").symlink_to("t" * 150)

    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(pack_layer(tmp_path).content))) as archive:
        members = {member.name: member for member in archive}

    assert members[f"{long}/é.txt"].size == 1
    assert (members["link"].linkname, members["far"].linkname) == ("main.nf", "t" * 150)
    assert {member.uname for member in members.values()} == {"root"}


@pytest.mark.parametrize(("patterns", "file", "is_left_out"), CASES)
def test_files_are_left_out_as_with_docker(patterns: str, file: str, is_left_out: bool) -> None:
    """Users have these files already, and know what they do."""
    assert DockerIgnore(patterns.splitlines()).leaves_out(file) is is_left_out


@pytest.mark.parametrize("pattern", ["!", "a[", "a[z-a]"])
def test_a_malformed_pattern_is_an_error(tmp_path: Path, pattern: str) -> None:
    """A pattern that is ignored could send a secret."""
    write(tmp_path, {".dockerignore": f"{pattern}\n"})

    with pytest.raises(PackError, match="dockerignore"):
        pack_context(tmp_path)


def test_a_context_has_folders_links_and_exceptions(tmp_path: Path) -> None:
    """What is in a folder that is left out can be taken back."""
    write(
        tmp_path,
        {".dockerignore": "docs\n!docs/README\n*.log\n", "docs/a": "", "docs/README": "", "x.log": "", "b": ""},
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("b")

    assert names(pack_context(tmp_path).content) == [".dockerignore", "b", "docs/", "docs/README", "empty/", "link"]


def test_the_ignore_file_of_a_container_file_wins(tmp_path: Path) -> None:
    """As with Docker. The general one is not sent, because the server would apply it too."""
    write(tmp_path, {".dockerignore": "a\n", "Dockerfile": "", "Dockerfile.dockerignore": "b\n", "a": "", "b": ""})

    assert names(pack_context(tmp_path, tmp_path / "Dockerfile").content) == [
        "Dockerfile",
        "Dockerfile.dockerignore",
        "a",
    ]
    assert names(pack_context(tmp_path).content) == [".dockerignore", "Dockerfile", "Dockerfile.dockerignore", "b"]


def test_too_much_is_refused_while_it_is_read(tmp_path: Path) -> None:
    """The limit ends the work: a home folder as the context must not fill the memory."""
    (tmp_path / "noise").write_bytes(os.urandom(3 << 20))
    read = list[int]()

    with pytest.raises(PackError, match="more than 1 MiB compressed"):
        pack(tree(tmp_path), limit=1 << 20, progress=read.append)

    assert read[-1] < 3 << 20


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """The message names the path."""
    with pytest.raises(PackError, match="is not a folder"):
        pack_layer(write(tmp_path, {"a": ""}) / "a")


def test_a_number_that_does_not_fit_is_an_error() -> None:
    """A wrong header would give an archive that cannot be read."""
    with pytest.raises(ValueError, match="no place"):
        headers("a", EntryType.FILE, mode=0o644, size=8**11)
