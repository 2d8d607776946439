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
import fcntl
import os
import socket
import struct
import time
from asyncio.subprocess import Process
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from msgspec import Struct, field

from builder.buildkit.buildctl import buildctl
from builder.buildkit.daemons.configuration import RUN, RUNTIME, SOCKET, STATE, STEP_NETWORK, configuration
from builder.buildkit.daemons.programs import Programs
from builder.buildkit.daemons.step_groups import FOLDER, StepGroups
from builder.buildkit.network import egress, push_gateway
from builder.settings import EngineSettings
from swell.disk import in_thread
from swell_sandbox import SCRATCH, Mount, Sandbox, SandboxUnavailable, cgroups
from swell_sandbox.network import reject_networks
from swell_sandbox.process import children, start
from swell_sandbox.root import enter_network, open_root
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
_SLIRP_MEMORY, _SLIRP_PROCESSES = 512 << 20, 64
_NS_GET_PARENT = 0xB702  # linux/nsfs.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # linux/sockios.h

_T = TypeVar("_T")

# Root of the sandbox, in U1.
_OUTER = """\
mkdir -p "$RUN" "$STATE" "$TMPDIR" /tmp/work/auth
if [ "$REGISTRATIONS" ]; then
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    printf '%s\\n' "$REGISTRATIONS" | while read -r line; do printf %s "$line" > /proc/sys/fs/binfmt_misc/register; done
fi
unset REGISTRATIONS
exec unshare --user --map-users="$IDS" --map-groups="$IDS" --setuid 0 --setgid 0 --mount --net -- sh -ec "$INNER"
"""
# Root of U2, in the network namespace of the steps.
_INNER = """\
touch "$STEP_NETWORK"
mount --bind /proc/self/ns/net "$STEP_NETWORK"
unset INNER IDS
exec unshare --net -- "$BUILDKITD" --config "$CONFIGURATION"
"""
# What buildkitd runs as runc: steps are in another network, and in control groups of their own.
_RUNTIME_SCRIPT = f"""\
#!/bin/sh
for word in "$@"; do
    case "$word" in
    run|create|exec) for group in {FOLDER}/*; do if [ -e "$group" ]; then {{ echo 0 > "$group"; }} 2>/dev/null; fi; done
        break;;
    esac
done
exec nsenter --net={STEP_NETWORK} -- runc "$@"
"""
_SLIRP = """\
exec 3>&1 >/dev/null 2>&1
nsenter --user=/run/ns/outer --setuid 0 --setgid 0 -- slirp4netns --configure --mtu=65520 --disable-host-loopback \
    --ready-fd=3 --enable-sandbox --enable-seccomp --userns-path=/run/ns/inner --netns-type=path /run/ns/network tap0
exit 0
"""
_ENTER_CGROUPS = (
    'for group in $GROUPS_OF_DAEMON; do echo 0 > "$group/cgroup.procs"; done; unset GROUPS_OF_DAEMON; exec "$@"'
)


class Daemon(Struct, kw_only=True, eq=False):
    """A buildkitd that runs. `used` are the bytes on disk when it was last looked at."""

    directory: Path
    process: Process
    pid: int
    user_id: int
    groups: StepGroups
    last_lines: deque[bytes]
    born: float = field(default_factory=time.monotonic)
    builds: int = 0
    used: int = 0

    @property
    def is_running(self) -> bool:
        return self.process.returncode is None and Path(f"/proc/{self.pid}/ns/net").exists()

    @property
    def has_crashed(self) -> bool:
        return not self.is_running

    async def listen(self, addresses: Sequence[tuple[str, int]]) -> list[socket.socket]:
        """Sockets that listen at *addresses* of buildkitd's network.

        Raises:
            OSError: one is in use, or the daemon has ended.
        """

        def listen() -> list[socket.socket]:
            families = {True: socket.AF_INET6, False: socket.AF_INET}
            return [socket.create_server(each, family=families[":" in each[0]]) for each in addresses]

        return await _inside(Path(f"/proc/{self.pid}/ns/net"), listen)

    @asynccontextmanager
    async def client(
        self, arguments: Sequence[str], docker_config: bytes = b"{}", secrets: Mapping[str, bytes] = {}
    ) -> AsyncIterator[Process]:
        """Run buildctl with *arguments* beside the daemon, for the length of the block, and with *docker_config*.

        The *secrets* are files in `CREDENTIALS`. `stdout` and `stderr` are one pipe.
        """
        enter_groups = ("sh", "-ec", _ENTER_CGROUPS, "sh") if self.groups.daemon else ()
        namespaces = ("--user", "--mount", "--pid", "--net", "--setuid=0", "--setgid=0")
        environment = {
            "HOME": f"{SCRATCH}/work",
            "TMPDIR": f"{SCRATCH}/work/tmp",
            "GROUPS_OF_DAEMON": " ".join(map(str, self.groups.daemon)),
        }
        async with buildctl(
            (f"{ENGINE}/buildctl", f"--addr=unix://{SOCKET}", *arguments),
            CREDENTIALS,
            {"config.json": docker_config, **secrets},
            enter=(*enter_groups, "nsenter", f"--target={self.pid}", *namespaces, "--"),
            environment=environment,
        ) as process:
            yield process


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
        )
        await in_thread(sandbox.prepare, files=files, programs={Path(RUNTIME).name: _RUNTIME_SCRIPT}, directories=())
        (directory / BUILDS).mkdir()
        async with AsyncExitStack() as opened:
            process = await opened.enter_async_context(sandbox.start(("sh", "-ec", _OUTER)))
            lines = deque[bytes](maxlen=30)
            reading = opened.enter_context(_reading(process, lines))
            pid = await _ready(process, reading, lines)
            await _inside(Path(f"/proc/{pid}/ns/net"), _raise_loopback)
            limits = cgroups.make(f"{group}.slirp", memory=_SLIRP_MEMORY, pids=_SLIRP_PROCESSES) if limited else ()
            await opened.enter_async_context(_proxy_files(directory, pid, limits))
            await _inside(_step_network(pid), lambda: reject_networks(settings.denied_networks))
            yield Daemon(
                directory=directory, process=process, pid=pid, user_id=user_id, groups=groups, last_lines=lines
            )
    finally:
        await in_thread(groups.remove_children)
        await in_thread(dispose, directory, f"{group}*")


class _reading:  # noqa: N801  (used like a function)
    """Reads the daemon's output for the length of the block; `ready` is set when it serves."""

    def __init__(self, process: Process, lines: deque[bytes]) -> None:
        self._process = process
        self._lines = lines
        self.ready = asyncio.Event()

    def __enter__(self) -> "_reading":
        self._task = asyncio.create_task(self._read())
        return self

    def __exit__(self, *_: object) -> None:
        self._task.cancel()

    async def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  (a pipe)
        rest = b""
        while chunk := await self._process.stdout.read(65536):
            *whole, rest = (rest + chunk).split(b"\n")
            rest = rest[-8192:]
            self._lines.extend(line[:2000] for line in whole)
            if any(_READY in line for line in whole):
                self.ready.set()
        self._lines.append(rest)
        self.ready.set()


async def _ready(process: Process, reading: _reading, lines: deque[bytes]) -> int:
    """Wait until the daemon serves; its process id on this machine."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_READY_WITHIN):
            await reading.ready.wait()
    pids = [pid for shell in children(process.pid) for pid in children(shell)]
    if not pids or not any(_READY in line for line in lines):
        said = b" ".join(lines).decode(errors="replace")[-600:]
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
        "INNER": _INNER,
        "REGISTRATIONS": "\n".join(registrations),
    }


@asynccontextmanager
async def _proxy_files(directory: Path, pid: int, groups: Sequence[Path]) -> AsyncIterator[None]:
    """slirp4netns, in the control *groups*, for the steps of the daemon *pid*, for the length of the block."""
    base = directory / "slirp"
    base.mkdir()
    inner = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        outer = fcntl.ioctl(inner, _NS_GET_PARENT)
        try:
            mounts = (
                Mount(Path(f"/proc/{os.getpid()}/fd/{outer}"), "/run/ns/outer"),
                Mount(Path(f"/proc/{os.getpid()}/fd/{inner}"), "/run/ns/inner"),
                Mount(_step_network(pid), "/run/ns/network"),
            )
            etc = {"resolv.conf": Path("/etc/resolv.conf").read_text(errors="replace")}
            namespace = await open_root(base, mounts, etc)
        finally:
            os.close(outer)
    finally:
        os.close(inner)
    try:
        environment = {"PATH": os.environ.get("PATH", os.defpath)}
        async with start(
            ("sh", "-c", _SLIRP), environment=environment, mount_namespace=namespace, cgroups=groups
        ) as process:
            assert process.stdout is not None  # noqa: S101  (a pipe)
            ready = b""
            with suppress(TimeoutError):
                async with asyncio.timeout(_READY_WITHIN):
                    ready = await process.stdout.read(1)
            if ready != b"1":
                raise SandboxUnavailable("The network of the steps cannot be created: slirp4netns does not start.")
            yield
    finally:
        os.close(namespace)


def _step_network(pid: int) -> Path:
    return Path(f"/proc/{pid}/root{STEP_NETWORK}")


async def _inside(namespace: Path, work: Callable[[], _T]) -> _T:
    """The result of *work* in *namespace*: a thread enters it, and ends with the work."""

    def enter() -> _T:
        enter_network(namespace)
        return work()

    with ThreadPoolExecutor(1, thread_name_prefix="network") as thread:
        return await asyncio.get_running_loop().run_in_executor(thread, enter)


def _raise_loopback() -> None:
    """Set the interface `lo` up. Source: netdevice(7), https://man7.org/linux/man-pages/man7/netdevice.7.html"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16xH14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[0]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
