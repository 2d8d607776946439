"""A sandbox: a directory, and commands that run in it without access to the rest of the machine."""

import os
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from swell_sandbox.lines import OnLine
from swell_sandbox.process import read_lines, start
from swell_sandbox.root import SCRATCH, Mount, open_root
from swell_sandbox.two_outputs import TwoOutputs

USER_IDS = 65536
SECRET = "/proc/self/fd/3"  # noqa: S105  (a path)
"""The path where a command reads its secret."""

_BIG_FILES = "/var/tmp"  # noqa: S108  (a path in the sandbox)
"""Where some programs write large temporary files and ignore TMPDIR: buildah's containers/image library."""

# Runs as the machine's root, in mount and PID namespaces of its own.
#   - A secret is an open file without a name. A build step has the same user as the engine, but cannot open it.
#   - The last `unshare` locks all mounts: read-only ones stay read-only. It also switches to an unprivileged user.
#   - The shell stays the first process of the PID namespace, because a process that changes its user loses its
#     parent-death signal.
_ENTER = f"""\
cd {SCRATCH}
if [ -e secret ]; then exec 3< secret; rm secret; fi
ids="$SANDBOX_IDS" cgroup="$SANDBOX_CGROUP"
unset SANDBOX_IDS SANDBOX_CGROUP
if [ "$SANDBOX_BINFMT" ]; then set -- sh -ec "$SANDBOX_REGISTER" sh "$@"; fi
unshare --user --map-users="$ids" --map-groups="$ids" --setuid 0 --setgid 0 --mount $cgroup -- "$@" || exit $?
exit 0
"""
# The user namespace has its own table of emulators.
_REGISTER = """\
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf %s "$SANDBOX_BINFMT" > /proc/sys/fs/binfmt_misc/register
unset SANDBOX_BINFMT SANDBOX_REGISTER
exec "$@"
"""


class Sandbox(Struct, frozen=True, kw_only=True):
    """The sandbox of `directory`, which its processes see at `SCRATCH`; they may write below `work` alone.

    `/var/tmp` in the sandbox is `work` too, so that temporary files count for the limit of the directory's size.

    `user_id` is the first of their `USER_IDS` user and group ids on the machine. They see `mounts`, and enter the
    control groups `cgroups` and the network namespace `network` (None: the machine's). They register the emulator
    `binfmt`, a line of binfmt.d(5). Their environment is `environment` and PATH. With `has_cgroup_namespace`, they do
    not see the names of groups, and cannot leave theirs.
    """

    directory: Path
    user_id: int
    mounts: tuple[Mount, ...] = ()
    cgroups: tuple[Path, ...] = ()
    network: Path | None = None
    binfmt: str = ""
    environment: Mapping[str, str] = {}
    has_cgroup_namespace: bool = True

    @property
    def work(self) -> Path:
        """The directory that is `/tmp/work` in the sandbox."""
        return self.directory / "work"

    def prepare(
        self,
        *,
        files: Mapping[str, str] = {},
        programs: Mapping[str, str] = {},
        directories: Sequence[str] = (),
    ) -> None:
        """Fill the empty directory: *files* (path -> text), *programs* in a folder of PATH, writable *directories*.

        Raises:
            OSError: the disk is full, for example.
        """
        self.directory.chmod(0o711)
        for name in ("root", "bin"):
            (self.directory / name).mkdir()
        for name in ("work", *directories):
            (self.directory / name).mkdir(parents=True)
            os.chown(self.directory / name, self.user_id, self.user_id)
        for name, text in files.items():
            (self.directory / name).write_text(text)
        for name, text in programs.items():
            path = self.directory / "bin" / name
            path.write_text(text)
            path.chmod(0o755)

    async def run(
        self,
        command: Sequence[str],
        *,
        on_line: OnLine,
        environment: Mapping[str, str] = {},
        mounts: tuple[Mount, ...] = (),
        secret: bytes | None = None,
    ) -> int:
        """Run *command* until it and all its descendants have ended; the exit status, negative for a signal.

        `stdout` and `stderr` are passed to *on_line* together. *environment* and *mounts* are added to those of the
        sandbox. *secret* is readable at `SECRET`, but not by descendants with fewer rights. Cancelling kills all
        processes and waits for their end.

        Raises:
            SandboxUnavailable: the kernel refuses.
            OSError: a program of util-linux is missing, or the disk is full.
        """
        async with self.start(command, environment=environment, mounts=mounts, secret=secret) as process:
            await read_lines(process, on_line)
            return await process.wait()

    @asynccontextmanager
    async def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] = {},
        mounts: tuple[Mount, ...] = (),
        secret: bytes | None = None,
        is_synced: bool = True,
        outputs: TwoOutputs | None = None,
    ) -> AsyncIterator[Process]:
        """Run *command* for the length of the block, then kill it with all its descendants; otherwise as `run`.

        If not *is_synced*, fsync and similar calls succeed at once, as in `swell_sandbox.no_sync`. With *outputs*,
        standard output and standard error go there, and not to `stdout` of the process.
        """
        if secret is not None:
            self._write_secret(secret)
        scratch = Mount(self.directory, SCRATCH, writable=True)
        all_mounts = (scratch, Mount(self.work, _BIG_FILES, writable=True), *self.mounts, *mounts)
        namespace = await open_root(
            self.directory / "root", all_mounts, self._etc(), network=self.network, cgroups=self.cgroups
        )
        try:
            async with start(
                ("sh", "-ec", _ENTER, "sh", *command),
                environment={**self._environment(), **environment},
                mount_namespace=namespace,
                network=self.network,
                cgroups=self.cgroups,
                is_synced=is_synced,
                outputs=outputs,
            ) as process:
                yield process
        finally:
            os.close(namespace)

    def read(self, name: str, limit: int) -> bytes:
        """Read the first *limit* bytes of the file *name* below `work`.

        Raises:
            OSError: it is missing or is not a regular file; links are not followed, and pipes do not block.
        """
        file = os.open(self.work / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(file, "rb") as opened:
            return opened.read(limit)

    def _write_secret(self, content: bytes) -> None:
        path = self.directory / "secret"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)
        os.chown(path, self.user_id, self.user_id)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{SCRATCH}/bin:{os.environ.get('PATH', os.defpath)}",
            "HOME": f"{SCRATCH}/work",
            "TMPDIR": f"{SCRATCH}/work",
            "SANDBOX_IDS": f"{self.user_id},0,{USER_IDS}",
            "SANDBOX_CGROUP": "--cgroup" if self.has_cgroup_namespace else "",
            **({"SANDBOX_BINFMT": self.binfmt, "SANDBOX_REGISTER": _REGISTER} if self.binfmt else {}),
            **self.environment,
        }

    def _etc(self) -> dict[str, str]:
        user, home = self.user_id, f"{SCRATCH}/work"
        ids = f"root:{user}:{USER_IDS}\n"
        given = self.directory / "resolv.conf"
        return {
            "passwd": f"root:x:0:0::{home}:/bin/sh\nsandbox:x:{user}:{user}::{home}:/bin/sh\n",
            "group": f"root:x:0:\nsandbox:x:{user}:\n",
            "subuid": ids,
            "subgid": ids,
            "hosts": _text(Path("/etc/hosts")),
            "resolv.conf": _text(given if given.exists() else Path("/etc/resolv.conf")),
        }


def new_directory(parent: Path, prefix: str = "") -> Path:
    """Create an empty directory for a sandbox in *parent*."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
