"""`make up` by an operator without root: only what isolates programs is root, all else is the operator's."""

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from swell_embedded.errors import CannotStart
from swell_embedded.ports import Ports
from swell_embedded.processes.privileges import owner_of
from tests.integration.embedded.processes import descendants, gone
from tests.integration.embedded.test_up import NAMES, Up

TREE = Path(__file__).parents[3]
NEEDED = ("sudo", "useradd", "userdel", "setpriv", "unshare", "make")
ROOTS = {"builder", "scanner", "swell_embedded"}
OTHERS = {"gateway", "registry_proxy", "metrics"}

# Other users may not read the folder of the Python that runs the tests, so it is mounted again where they can.
SHOW = """
set -eu
scratch=$1 tops=$2 paths=$3
shift 3
number=0
for path in $paths; do
    number=$((number + 1)); mkdir -p "$scratch/$number"; mount --rbind "$path" "$scratch/$number"
done
for top in $tops; do mount -t tmpfs -o mode=755 tmpfs "$top"; done
number=0
for path in $paths; do number=$((number + 1)); mkdir -p "$path"; mount --rbind "$scratch/$number" "$path"; done
umask 077
exec "$@"
"""


class Operator:
    """A real user with sudo, and a folder of its own, in which it starts Swell."""

    def __init__(self, name: str, folder: Path) -> None:
        self.uid = pwd.getpwnam(name).pw_uid
        self.home = folder / "home"
        self._folder = folder
        self._services = folder / "services"
        self._services.mkdir()
        for module in NAMES:
            shutil.copy(Path(__file__).with_name("standin.py"), self._services / f"{module}.py")
        (folder / "scratch").mkdir()
        os.chown(folder, self.uid, -1)
        self._services.chmod(0o755)

    def command(self, *command: str, as_root: bool = False) -> tuple[str, ...]:
        """Return *command* as this user, or as root through sudo, with a umask of 077."""
        paths = dict.fromkeys((Path(sys.base_prefix), TREE))
        tops = {str(top) for path in paths for top in path.parents if not top.stat().st_mode & stat.S_IXOTH}
        hidden = [str(path) for path in paths if any(str(path).startswith(f"{top}/") for top in tops)]
        show = ("unshare", "--mount", "--propagation", "private", "sh", "-c", SHOW, "sh", str(self._folder / "scratch"))
        user = () if as_root else ("setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--init-groups", "--")
        return (*show, " ".join(sorted(tops)), " ".join(hidden), *user, *command)

    def environment(self, **more: str) -> Mapping[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("SWELL_", "SUDO_"))}
        modules = ":".join(filter(None, (str(self._services), os.environ.get("PYTHONPATH"))))
        return own | {"SWELL_HOME": str(self.home), "PYTHONPATH": modules, "HOME": str(self._folder)} | more

    @asynccontextmanager
    async def up(self, *, as_root: bool = False) -> AsyncIterator[Up]:
        sudo = {"SUDO_UID": str(self.uid)} if as_root else {}
        process = await asyncio.create_subprocess_exec(
            *self.command(sys.executable, "-m", "swell_embedded", "up", "--free-ports", as_root=as_root),
            env=self.environment(**sudo),
            cwd=self._folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            stdin=asyncio.subprocess.DEVNULL,
        )
        try:
            yield Up(process)
        finally:
            for pid in (process.pid, *descendants(process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await process.wait()


@pytest.fixture
def operator() -> Iterator[Operator]:
    if missing := [program for program in NEEDED if not shutil.which(program)]:
        pytest.fail(f"of `make system-test` there is missing: {', '.join(missing)}")
    name, folder = f"swell-test-{os.getpid()}", Path(tempfile.mkdtemp(prefix="swell-user-", dir="/var/tmp"))
    folder.chmod(0o755)
    rule = Path("/etc/sudoers.d", name)
    subprocess.run(["useradd", "--no-create-home", "--user-group", name], check=True)
    try:
        rule.write_text(f"{name} ALL=(ALL:ALL) NOPASSWD: ALL\n")
        rule.chmod(0o440)
        yield Operator(name, folder)
    finally:
        rule.unlink(missing_ok=True)
        subprocess.run(["userdel", name], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def users_of(family: set[int]) -> dict[str, int]:
    """The user ids of the Python processes in *family*, by their module."""
    users = {}
    for pid in family:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"-m" in command and b"sudo" not in command[0]:
            users[command[command.index(b"-m") + 1].decode()] = Path(f"/proc/{pid}").stat().st_uid
    return users


async def test_only_the_supervisor_and_what_isolates_programs_are_root(operator: Operator) -> None:
    """Everything else, and every file but theirs, belongs to the user; with a umask of 077 as well."""
    async with operator.up() as swell:
        await swell.until("Swell is ready")
        family = descendants(swell.process.pid)
        users = users_of(family)
        assert {name for name, uid in users.items() if uid == 0} == ROOTS
        assert {name for name, uid in users.items() if uid == operator.uid} == OTHERS
        roots = {path.name for path in operator.home.rglob("*") if path.lstat().st_uid == 0}
        assert {name for name in roots if not name.endswith(".log")} <= {"builder", "scanner"}
        swell.process.send_signal(signal.SIGTERM)
        assert await swell.ended() == 0
        assert not await gone(family, seconds=5)


async def test_a_start_with_sudo_leaves_nothing_that_the_user_cannot_use(operator: Operator) -> None:
    """After `sudo make up`, plain `make up` and `make demo` work."""
    for as_root in (True, False):
        async with operator.up(as_root=as_root) as swell:
            await swell.until("Swell is ready")
            assert operator.home.stat().st_uid == operator.uid
            assert (operator.home / "auth/push.json").stat().st_uid == operator.uid
            assert users_of(descendants(swell.process.pid))["gateway"] == operator.uid
            swell.process.send_signal(signal.SIGTERM)
            assert await swell.ended() == 0


@pytest.mark.parametrize(
    "command",
    [("make", "--no-print-directory", "-C", str(TREE), "root"), (sys.executable, "-m", "swell_embedded", "up")],
)
def test_without_sudo_the_reason_comes_first(operator: Operator, command: tuple[str, ...]) -> None:
    """Nothing is installed, started or written before."""
    programs = Path(tempfile.mkdtemp(dir=operator.home.parent))
    programs.chmod(0o755)
    for name in ("bash", "sh", "make", "id", "setpriv", "mkdir", "mount", "unshare", "git", "stat", "grep", "expand"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    ended = subprocess.run(
        operator.command(*command),
        env=operator.environment(PATH=str(programs)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode != 0
    assert "root" in said and "install sudo" in said and "Traceback" not in said
    assert not operator.home.exists()


def test_root_acts_for_the_user_of_sudo_or_for_the_owner_of_the_folder(operator: Operator) -> None:
    """A folder that was made by root itself stays root's."""
    operator.home.mkdir()
    assert owner_of(operator.home, {}).is_root
    assert owner_of(operator.home, {"SUDO_UID": str(operator.uid)}).uid == operator.uid
    os.chown(operator.home, operator.uid, -1)
    assert owner_of(operator.home, {}).uid == operator.uid


def test_an_offset_moves_every_port() -> None:
    """A second stack on one machine; the ports of gRPC behind S3 move as well."""
    ports, moved = Ports(), Ports().plus(1000)
    assert {getattr(moved, name) - getattr(ports, name) for name in Ports.__struct_fields__} == {1000}
    for offset in (-9000, 50_000):
        with pytest.raises(CannotStart, match=r"use \+1000, for example"):
            ports.plus(offset)
