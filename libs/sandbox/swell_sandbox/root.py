"""A mount namespace whose root file system has an explicit list of contents.

The root is a new, read-only tmpfs. The old root is unmounted before a command runs, so that no path leads to it.

Source: pivot_root(2), https://man7.org/linux/man-pages/man2/pivot_root.2.html
Source: mount_namespaces(7), https://man7.org/linux/man-pages/man7/mount_namespaces.7.html
Source: mount_setattr(2), https://man7.org/linux/man-pages/man2/mount_setattr.2.html
"""

import asyncio
import ctypes
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from swell_sandbox.cgroups import is_version_2
from swell_sandbox.errors import SandboxUnavailable

SCRATCH = "/tmp"  # noqa: S108  (a path in the sandbox)
"""The path of the sandbox's directory, as its processes see it."""

# The directories of the machine that programs need; symbolic links are copied as links.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# Certificates that this machine trusts, and tables of names; each is mounted if it exists.
_CONFIGURATION = (
    "/etc/ca-certificates",
    "/etc/containers/certs.d",
    "/etc/crypto-policies",
    "/etc/docker/certs.d",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
)
_DEVICES = {  # https://docs.kernel.org/admin-guide/devices.html
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
    "net/tun": (10, 200),
}
_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
_DIRECTORIES = ("dev/net", "dev/pts", "dev/shm", "etc", "proc", "run", "sys", "tmp", "var/tmp")

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000  # linux/sched.h
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2  # linux/mount.h
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000  # asm-generic/unistd.h, linux/fcntl.h
_ATTR_RDONLY, _ATTR_NODEV = 1, 4  # linux/mount.h

_libc = ctypes.CDLL(None, use_errno=True)


class Mount(Struct, frozen=True):
    """Binds the file or directory `source` of the machine, with its submounts, to the absolute path `target`."""

    source: Path
    target: str
    writable: bool = False


class _Attributes(ctypes.Structure):
    """`struct mount_attr` of linux/mount.h."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


@contextmanager
def _thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="sandbox") as thread:
        yield thread


async def open_root(
    base: Path,
    mounts: Iterable[Mount],
    etc: Mapping[str, str],
    *,
    network: Path | None = None,
    cgroups: Iterable[Path] = (),
) -> int:
    """Create a mount namespace; return it as an open file, which the caller closes.

    Its root has the system's programs, *mounts*, and the files *etc* (name -> text) in `/etc`. *base* is an empty
    directory. `/sys` is that of the namespace *network*, with the control groups *cgroups* and no others. `/proc` is
    an empty directory: the caller mounts it in its PID namespace.

    Raises:
        SandboxUnavailable: the kernel refuses.
    """
    mounts, cgroups = tuple(mounts), tuple(cgroups)
    # unshare(2) and pivot_root(2) change only this thread, which ends afterwards.
    with _thread() as thread:
        try:
            return await asyncio.get_running_loop().run_in_executor(
                thread, _make_root, base, mounts, etc, network, cgroups
            )
        except OSError as error:
            raise SandboxUnavailable(f"The root file system of the sandbox cannot be created: {error}.") from error


def _make_root(
    base: Path, mounts: Iterable[Mount], etc: Mapping[str, str], network: Path | None, cgroups: Iterable[Path]
) -> int:
    if network:
        enter_network(network)
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    namespace = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _mount("none", "/", "", _REC | _PRIVATE)
        _mount("tmpfs", base, "tmpfs", _NOSUID, "size=1m,mode=755")
        for directory in _DIRECTORIES:
            (base / directory).mkdir(parents=True)
        _make_devices(base / "dev")
        for name, text in etc.items():
            (base / "etc" / name).write_text(text)
        for path in _SYSTEM:
            _add_system(base, Path(path))
        for path in _CONFIGURATION:
            if Path(path).exists():
                _bind(base, Mount(Path(path), path))
        _mount("sysfs", base / "sys", "sysfs", _RDONLY | _NOSUID | _NODEV | _NOEXEC)
        _add_cgroups(base, tuple(cgroups))
        for mount in mounts:
            _bind(base, mount)
        _leave_old_root(base)
    except BaseException:
        os.close(namespace)
        raise
    return namespace


def _make_devices(directory: Path) -> None:
    for name, (major, minor) in _DEVICES.items():
        os.mknod(directory / name, stat.S_IFCHR, os.makedev(major, minor))
        (directory / name).chmod(0o666)
    for name, target in _LINKS.items():
        (directory / name).symlink_to(target)
    _mount("devpts", directory / "pts", "devpts", _NOSUID | _NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    _mount("tmpfs", directory / "shm", "tmpfs", _NOSUID | _NODEV, "size=64m,mode=1777")


def _add_system(base: Path, path: Path) -> None:
    if path.is_symlink():
        (base / path.relative_to("/")).symlink_to(path.readlink())
    elif path.exists():
        _bind(base, Mount(path, str(path)))


def _add_cgroups(base: Path, groups: tuple[Path, ...]) -> None:
    """Mount *groups* where programs read their limits; without groups, those of the machine."""
    root = Path("/sys/fs/cgroup")
    if not groups or is_version_2():
        _bind(base, Mount(groups[0] if groups else root, str(root)))
    else:  # version 1: a group for each controller
        _mount("tmpfs", base / root.relative_to("/"), "tmpfs", _NOSUID | _NODEV | _NOEXEC, "size=4k,mode=755")
        for group in groups:
            _bind(base, Mount(group, str(group.parent)))


def _bind(base: Path, mount: Mount) -> None:
    target = base / mount.target.lstrip("/")
    if mount.source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(mount.source, target, "", _BIND | _REC)
    if not mount.writable:
        attributes = _Attributes(set=_ATTR_RDONLY | _ATTR_NODEV)
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        _check(
            _libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, bytes(target), _AT_RECURSIVE, ctypes.byref(attributes), size),
            f"mount_setattr {target}",
        )


def _leave_old_root(base: Path) -> None:
    os.chdir(base)
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount")
    os.chdir("/")
    _mount("none", "/", "", _REMOUNT | _BIND | _RDONLY | _NOSUID)


def enter_network(namespace: Path) -> None:
    """Move the calling thread, which must end afterwards, into the network *namespace*; raises `OSError`."""
    file = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(file, _CLONE_NEWNET), f"setns {namespace}")
    finally:
        os.close(file)


def _mount(source: Path | str, target: Path | str, kind: str, flags: int, options: str = "") -> None:
    arguments = os.fsencode(source), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), options.encode()
    _check(_libc.mount(*arguments), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
