"""Runs the programs of a scan: unprivileged, without network, in a sandbox with limits."""

import os
import stat
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO, Self

from scanner.domain.failure import ScanFailure
from scanner.settings import Settings
from swell.disk import in_thread
from swell.store.scans import ScanProblem
from swell_sandbox import SCRATCH, Mount, Sandbox, SandboxUnavailable, cgroups
from swell_sandbox.disk import DiskLimitReached, bounded
from swell_sandbox.lines import plain
from swell_sandbox.sandbox import new_directory
from swell_sandbox.workspace import can_limit, clean, dispose, group_prefix, lock

WORK = f"{SCRATCH}/work"
"""The folder of the sandbox that a program may write to; `Scratch.read` reads its files."""
SCANS_FOLDER = "scans"
"""The folder of the workspace with running scans; emptied at the start."""
_LAST_LINES = 20
_LINE = 500  # characters


class Scratch:
    """The sandbox of one scan."""

    def __init__(self, sandbox: Sandbox, settings: Settings, log: deque[str]) -> None:
        self._sandbox = sandbox
        self._settings = settings
        self._log = log

    @property
    def directory(self) -> Path:
        """A folder for input files; programs may read what is here, below `SCRATCH`."""
        return self._sandbox.directory

    async def run(
        self, command: Sequence[str], mounts: Sequence[Mount], environment: Mapping[str, str]
    ) -> tuple[int, list[str]]:
        """Run *command*; return its exit status and its last lines of output.

        It has its own network namespace without any address, and may not write files larger than the disk limit.

        Raises:
            ScanFailure: it reached a limit, or cannot be started.
        """
        lines: deque[str] = deque(maxlen=_LAST_LINES)

        async def on_line(line: bytes) -> None:
            text = printable(plain(line).decode(errors="replace"))[:_LINE]
            lines.append(text)
            self._log.append(text)

        disk = self._settings.scan_disk
        isolated = ("unshare", "--net", "--", "prlimit", f"--fsize={disk}", "--core=0", "--", *command)
        with _failures():
            async with bounded(self.directory, disk):
                status = await self._sandbox.run(
                    isolated, on_line=on_line, mounts=tuple(mounts), environment=environment
                )
        if status and cgroups.has_killed(self._sandbox.cgroups):
            limit = self._settings.scan_memory
            raise ScanFailure(
                ScanProblem.MEMORY, f"The scan needed more than the {limit} bytes of memory that this server allows."
            )
        return status, list(lines)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open the file *name* that a program wrote to `WORK`.

        Raises:
            ScanFailure: it is missing, or is not a file; links are not followed.
        """
        try:
            descriptor = os.open(self._sandbox.work / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise ScanFailure(ScanProblem.TOOL, f"A program of the scanner did not write {name}.") from error
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ScanFailure(ScanProblem.TOOL, f"A program of the scanner wrote {name}, which is not a file.")
            yield file

    def read(self, name: str) -> bytes:
        """Return the file *name* that a program wrote to `WORK`.

        Raises:
            ScanFailure: it is missing, is not a file, or is too large.
        """
        limit = self._settings.scan_output_limit
        with self.open(name) as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise ScanFailure(ScanProblem.TOOL, f"{name} has more than the {limit} bytes that this server allows.")
        return content


class Programs:
    """Opens sandboxes in the workspace; `log` has the last lines of all programs of a scan."""

    def __init__(self, settings: Settings, *, limited: bool) -> None:
        self._settings = settings
        self._limited = limited

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[Self]:
        """Lock the workspace and remove the files of an earlier process.

        Raises:
            Unavailable: another process uses the workspace.
        """
        workspace = settings.scan_workspace
        (workspace / SCANS_FOLDER).mkdir(parents=True, exist_ok=True)
        workspace.chmod(0o711)
        with lock(workspace):
            clean(workspace, (SCANS_FOLDER,))
            yield cls(settings, limited=can_limit(workspace))

    @asynccontextmanager
    async def scratch(self, log: deque[str] | None = None) -> AsyncIterator[Scratch]:
        """Open a sandbox, which is removed after the block; lines of its programs are added to *log*."""
        settings = self._settings
        with _failures():
            directory = new_directory(settings.scan_workspace / SCANS_FOLDER)
        group = group_prefix(settings.scan_workspace) + directory.name
        try:
            with _failures():
                sandbox = Sandbox(
                    directory=directory,
                    user_id=settings.scan_user_id,
                    cgroups=cgroups.make(group, memory=settings.scan_memory, pids=settings.scan_pids)
                    if self._limited
                    else (),
                    environment={"GOMEMLIMIT": str(settings.scan_memory * 4 // 5)},
                )
                await in_thread(sandbox.prepare)
            yield Scratch(sandbox, settings, deque(maxlen=0) if log is None else log)
        finally:
            await in_thread(dispose, directory, group)


def printable(text: str) -> str:
    """Return *text* without control characters: names in images may contain any."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def is_possible() -> str:
    """Return what is missing to run sandboxes; empty if nothing is."""
    if os.geteuid() != 0:
        return "the scanner must run as root, so that its programs can run as other users"
    return ""


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except DiskLimitReached as error:
        raise ScanFailure(ScanProblem.DISK, f"The scan needed {error}, which this server does not allow.") from error
    except SandboxUnavailable as error:
        raise ScanFailure(ScanProblem.TOOL, str(error)) from error
    except OSError as error:
        message = f"The scanner cannot start a program or write its files: {error.strerror}."
        raise ScanFailure(ScanProblem.TOOL, message) from error
