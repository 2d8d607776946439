"""A sandbox holds what it is given, and nothing of the machine but the system's programs."""

import os
from pathlib import Path

import pytest

from swell_sandbox import SECRET, Mount, Sandbox

USER = 524288


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    if os.geteuid() != 0:
        pytest.fail("these tests need root")
    (tmp_path / "scratch").mkdir()
    sandbox = Sandbox(directory=tmp_path / "scratch", user_id=USER)
    sandbox.prepare(files={"greeting": "hello"})
    return sandbox


async def said(sandbox: Sandbox, script: str, *mounts: Mount, secret: bytes | None = None) -> list[str]:
    lines = list[str]()

    async def keep(line: bytes) -> None:
        lines.append(line.decode())

    await sandbox.run(("sh", "-c", script), on_line=keep, mounts=mounts, secret=secret)
    return lines


async def test_the_root_has_only_what_programs_need(sandbox: Sandbox) -> None:
    """Home directories, data and other scratch directories are not hidden: they are not there."""
    top = await said(sandbox, "ls /; ls /home /root /var/lib 2>/dev/null; cat /etc/shadow 2>/dev/null")
    assert set(top) <= {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin"} | {
        "sys",
        "tmp",
        "usr",
        "var",
    }


async def test_nothing_but_the_scratch_directory_is_writable(sandbox: Sandbox) -> None:
    """A command is root of its user namespace; the mounts are read-only and locked."""
    touch = "for at in / /usr /etc /tmp /tmp/root; do touch $at/x 2>/dev/null && echo $at; done"
    assert await said(sandbox, f"{touch}; umount /usr 2>/dev/null; echo y > /tmp/work/x") == []
    assert sandbox.read("x", 10) == b"y\n"


async def test_large_temporary_files_are_in_the_scratch_directory(sandbox: Sandbox) -> None:
    """Some programs ignore TMPDIR and write to /var/tmp; their files count for the limit of the directory."""
    await said(sandbox, "echo large > /var/tmp/file")
    assert sandbox.read("file", 10) == b"large\n"


async def test_mounts_are_read_only_unless_they_say_otherwise(sandbox: Sandbox, tmp_path: Path) -> None:
    """A store of base images is shared by builds that must not change it."""
    for name in ("shared", "own"):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, USER, USER)
    mounts = Mount(tmp_path / "shared", "/tmp/shared"), Mount(tmp_path / "own", "/tmp/own", writable=True)
    await said(sandbox, "touch /tmp/shared/x /tmp/own/x", *mounts)
    assert (list((tmp_path / "shared").iterdir()), [path.name for path in (tmp_path / "own").iterdir()]) == ([], ["x"])


async def test_a_secret_has_no_name(sandbox: Sandbox) -> None:
    """The command can read it, and it is not in the scratch directory afterwards."""
    assert await said(sandbox, f"cat {SECRET}; echo; ls /tmp/secret 2>/dev/null", secret=b"s3cret") == ["s3cret"]
    assert not (sandbox.directory / "secret").exists()


async def test_a_command_is_an_unprivileged_user_of_the_machine(sandbox: Sandbox) -> None:
    """Root inside is the first of its user ids outside."""
    assert await said(sandbox, "id -u; touch /tmp/work/mine; cat /tmp/greeting") == ["0", "hello"]
    assert (sandbox.work / "mine").stat().st_uid == USER
