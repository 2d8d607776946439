"""One buildkitd in a sandbox, and the programs beside it.

    sandbox (user namespace U1, root file system of its own)
      unshare: user namespace U2, in which buildkitd is root
        buildkitd    network namespace without a route; loopback has the egress proxy, the push gateway and what
                     loopback registries are allowed
        runc         steps: in another network namespace of U2, whose way out is slirp4netns
    slirp4netns      root of U1 without capabilities, behind seccomp: it may configure U2's network, U2 cannot reach it

Steps so reach the world, but neither buildkitd nor this machine's loopback; buildkitd reaches nothing but the proxy.
"""

import asyncio
import os
import socket
import time
from asyncio.subprocess import Process
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from stat import S_ISREG

from msgspec import Struct, field

from builder.buildkit.buildctl import end, end_soon, send_command, start_waiting
from builder.buildkit.daemons.configuration import RUN, RUNTIME, SOCKET, STATE, STEP_NETWORK, configuration
from builder.buildkit.daemons.programs import Programs
from builder.buildkit.daemons.scripts import INNER, OUTER, RUNTIME_SCRIPT
from builder.buildkit.daemons.step_groups import StepGroups
from builder.buildkit.daemons.step_network import MEMORY, PROCESSES, namespace_of_steps, step_network
from builder.buildkit.network import egress, push_gateway
from builder.settings import EngineSettings
from swell.concurrency.background import background
from swell.concurrency.tasks import TaskOwner
from swell.disk import in_thread
from swell_sandbox import SCRATCH, Mount, Sandbox, SandboxUnavailable, cgroups
from swell_sandbox.namespaces import in_network, listen, network_of, reject_networks, set_loopback_up
from swell_sandbox.process import children
from swell_sandbox.sandbox import USER_IDS, new_directory
from swell_sandbox.workspace import dispose, group_prefix

FOLDER_NAME = "daemons"
"""The folder of the workspace in which daemons have their directories."""
BUILDS = "builds"
"""The folder of a daemon's directory for the files of its build."""
ENGINE = "/engine"
CREDENTIALS = f"{SCRATCH}/work/auth"
"""Where buildctl has the credentials of its build."""

_READY_WITHIN = 30.0
_READY = b"running server on"
_STEP_LOG_SIZE, _STEP_LOG_SPEED = 72 << 20, -1  # bytes, bytes a second: what a step writes beyond is cut

_ENTER_CGROUPS = (
    'for group in $GROUPS_OF_DAEMON; do echo 0 > "$group/cgroup.procs"; done; unset GROUPS_OF_DAEMON; exec "$@"'
)


class Daemon(Struct, kw_only=True, eq=False):
    """A buildkitd that runs. `used` are the bytes on disk when it was last looked at.

    `next_client` is the process that becomes the next buildctl, if it was started in advance; `ending` are those of
    earlier builds.
    """

    directory: Path
    process: Process
    pid: int
    user_id: int
    groups: StepGroups
    last_lines: deque[bytes]
    born: float = field(default_factory=time.monotonic)
    builds: int = 0
    used: int = 0
    next_client: asyncio.Task[Process] | None = None
    ending: TaskOwner = field(default_factory=TaskOwner)

    @property
    def is_running(self) -> bool:
        return self.process.returncode is None and network_of(self.pid).exists()

    @property
    def has_crashed(self) -> bool:
        return not self.is_running

    def has_blob(self, digest: str) -> bool:
        """Whether buildkitd has all bytes of *digest* (`sha256:…`); it verifies them before it stores them here."""
        return self._blob(digest) is not None

    def has_new_blob(self, digest: str, since: float, limit: int) -> bool:
        """Whether `has_blob`, with at most *limit* bytes, which were stored after *since*, as `time.time` counts."""
        blob = self._blob(digest)
        return blob is not None and blob.st_size <= limit and blob.st_mtime >= since

    def _blob(self, digest: str) -> os.stat_result | None:
        for store in (self.directory / "work/state").glob("*/content/blobs"):
            with suppress(OSError):
                found = (store / digest.replace(":", "/")).stat(follow_symlinks=False)
                if S_ISREG(found.st_mode):
                    return found
        return None

    async def listen(self, addresses: Sequence[tuple[str, int]]) -> list[socket.socket]:
        """Sockets that listen at *addresses* of buildkitd's network.

        Raises:
            OSError: one is in use, or the daemon has ended.
        """

        return await in_network(network_of(self.pid), lambda: listen(addresses))

    @asynccontextmanager
    async def client(
        self, arguments: Sequence[str], docker_config: bytes = b"{}", secrets: Mapping[str, bytes] = {}
    ) -> AsyncIterator[Process]:
        """Run buildctl with *arguments* beside the daemon, for the length of the block, and with *docker_config*.

        The *secrets* are files in `CREDENTIALS`. `stdout` and `stderr` are one pipe. When the block ends before
        buildctl, without an exception, buildctl has 5 s to end in the background.
        """
        process = await self._take_client()
        command = f"{ENGINE}/buildctl", f"--addr=unix://{SOCKET}", *arguments
        try:
            await send_command(process, command, {"config.json": docker_config, **secrets})
            yield process
        except BaseException:
            await end(process)
            raise
        if process.returncode is None:
            self.ending.start(end_soon(process))

    def prepare_client(self) -> None:
        """Start the process of the next buildctl in advance."""
        if self.next_client is None:
            self.next_client = asyncio.create_task(self._start_client())  # no group: `client` or `close` awaits it

    async def close(self) -> None:
        """End the processes of earlier builds, and the one that waits for the next build."""
        await self.ending.cancel()
        if task := self.next_client:
            self.next_client = None
            with suppress(OSError):
                await end(await task)

    async def _take_client(self) -> Process:
        self.prepare_client()
        task, self.next_client = self.next_client, None
        assert task is not None  # noqa: S101  (it was prepared)
        try:
            process = await asyncio.shield(task)
        except asyncio.CancelledError:
            self.next_client = task
            raise
        return process if process.returncode is None else await self._start_client()

    async def _start_client(self) -> Process:
        enter_groups = ("sh", "-ec", _ENTER_CGROUPS, "sh") if self.groups.daemon else ()
        namespaces = ("--user", "--mount", "--pid", "--net", "--setuid=0", "--setgid=0")
        environment = {
            "HOME": f"{SCRATCH}/work",
            "TMPDIR": f"{SCRATCH}/work/tmp",
            "GROUPS_OF_DAEMON": " ".join(map(str, self.groups.daemon)),
        }
        enter = (*enter_groups, "nsenter", f"--target={self.pid}", *namespaces, "--")
        return await start_waiting(CREDENTIALS, enter=enter, environment=environment)


@asynccontextmanager
async def open_daemon(
    settings: EngineSettings, programs: Programs, registrations: Iterable[str] = (), *, limited: bool
) -> AsyncIterator[Daemon]:
    """A daemon for the length of the block; then it is killed with all that it started, and its files are removed.

    It registers the emulators *registrations* (lines of binfmt.d(5)) for its steps.

    Raises:
        SandboxUnavailable: it does not start here; the text says why.
        OSError: the disk is full, for example.
    """
    directory = new_directory(settings.workspace / FOLDER_NAME)
    group = group_prefix(settings.workspace) + directory.name
    groups = StepGroups()
    user_id = settings.first_user_id
    try:
        if limited:
            groups = StepGroups.make(group, memory=settings.build_memory, pids=settings.build_pids, user_id=user_id)
        ids = f"root:{user_id}:{USER_IDS}\nroot:0:{USER_IDS}\n"
        files = {"buildkitd.toml": configuration(settings.insecure_registries, settings.build_platforms), "ids": ids}
        mounts = [
            Mount(directory / "ids", "/etc/subuid"),
            Mount(directory / "ids", "/etc/subgid"),
            Mount(programs.buildkitd, f"{ENGINE}/buildkitd"),
            Mount(programs.buildctl, f"{ENGINE}/buildctl"),
            *groups.mounts,
        ]
        environment = _environment(registrations)
        if settings.ca_file:
            files["ca.pem"] = settings.ca_file.read_text()
            environment["SSL_CERT_FILE"] = f"{SCRATCH}/ca.pem"
        sandbox = Sandbox(
            directory=directory,
            user_id=user_id,
            mounts=tuple(mounts),
            cgroups=groups.daemon,
            environment=environment,
            has_cgroup_namespace=not groups.outer,
        )
        await in_thread(sandbox.prepare, files=files, programs={Path(RUNTIME).name: RUNTIME_SCRIPT}, directories=())
        (directory / BUILDS).mkdir()
        async with AsyncExitStack() as opened:
            process = await opened.enter_async_context(sandbox.start(("sh", "-ec", OUTER), is_synced=False))
            output = _Output()
            await opened.enter_async_context(background(output.read(process)))
            pid = await _ready(process, output)
            await in_network(network_of(pid), set_loopback_up)
            limits = cgroups.make(f"{group}.slirp", memory=MEMORY, pids=PROCESSES) if limited else ()
            await opened.enter_async_context(step_network(directory, pid, limits))
            await in_network(namespace_of_steps(pid), lambda: reject_networks(settings.denied_networks))
            daemon = Daemon(
                directory=directory, process=process, pid=pid, user_id=user_id, groups=groups, last_lines=output.lines
            )
            opened.push_async_callback(daemon.close)
            yield daemon
    finally:
        await in_thread(groups.remove_children)
        await in_thread(dispose, directory, f"{group}*")


class _Output:
    """The daemon's last lines of output; `ready` is set when it serves, or when the output ends."""

    def __init__(self) -> None:
        self.lines = deque[bytes](maxlen=30)
        self.ready = asyncio.Event()

    async def read(self, process: Process) -> None:
        """Read the output of *process* until it ends."""
        assert process.stdout is not None  # noqa: S101  (a pipe)
        rest = b""
        while chunk := await process.stdout.read(65536):
            *whole, rest = (rest + chunk).split(b"\n")
            rest = rest[-8192:]
            self.lines.extend(line[:2000] for line in whole)
            if any(_READY in line for line in whole):
                self.ready.set()
        self.lines.append(rest)
        self.ready.set()


async def _ready(process: Process, output: _Output) -> int:
    """Wait until the daemon serves; its process id on this machine."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_READY_WITHIN):
            await output.ready.wait()
    pids = [pid for shell in children(process.pid) for pid in children(shell)]
    if not pids or not any(_READY in line for line in output.lines):
        said = b" ".join(output.lines).decode(errors="replace")[-600:]
        raise SandboxUnavailable(f"BuildKit does not start: {said or 'it says nothing'}.")
    return pids[0]


def _environment(registrations: Iterable[str]) -> dict[str, str]:
    proxy = f"http://127.0.0.1:{egress.PORT}"
    return {
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,  # git reads no other for http, as curl does not
        "HTTPS_PROXY": proxy,
        "NO_PROXY": push_gateway.HOST,
        "TMPDIR": f"{SCRATCH}/work/tmp",
        "XDG_RUNTIME_DIR": RUN,
        "BUILDKIT_STEP_LOG_MAX_SIZE": str(_STEP_LOG_SIZE),
        "BUILDKIT_STEP_LOG_MAX_SPEED": str(_STEP_LOG_SPEED),
        "GOMEMLIMIT": "700MiB",
        "GIT_CONFIG_NOSYSTEM": "1",
        "RUN": RUN,
        "STATE": STATE,
        "STEP_NETWORK": STEP_NETWORK,
        "BUILDKITD": f"{ENGINE}/buildkitd",
        "CONFIGURATION": f"{SCRATCH}/buildkitd.toml",
        "IDS": f"0,0,{USER_IDS}",
        "INNER": INNER,
        "REGISTRATIONS": "\n".join(registrations),
    }
