"""Rooms: a directory for each build, and the way into it, behind which a process can do nothing outside.

A command in a room is root of a user namespace, an unprivileged user to the machine. It has process ids and mounts of
its own. So neither a container file nor a fault of buildah's gives anybody more than an unprivileged user has. (Buildah
1.28 has such faults: RUN --mount follows symbolic links out of images, and cache ids with dots, to any path.)
"""

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from builder.adapters import cgroups
from builder.domain.failure import BuildFailure
from swell.errors import DigestInvalid
from swell.oci.digest import Digest, parse_digest
from swell.store.records import Reason

HERE = "/tmp"  # noqa: S108  (what a command in the room calls the room)
USER_IDS = 65536

_LONGEST_DIGEST = 200

_TUN = os.makedev(10, 200)  # linux/miscdevice.h

# Runs in the room, as root, in mount and PID namespaces of its own.
#   - The room becomes /tmp, which users of any id can reach wherever the workspace is. The rooms of others disappear.
#   - The distribution's short names would lead elsewhere than to Docker Hub; no option of buildah turns them off.
#   - Credentials are an open file without a name. A step has the user of buildah, but may not open that.
# The last `unshare` locks these mounts: what they hide stays hidden, what is read-only stays so. The shell waits for it
# as first process of the PID namespace, since a process that changes its user does not die with its parent any more.
_ENTER = """\
set -e
for group in $CGROUPS; do echo 0 > "$group"; done
mount --bind subids /etc/subuid
mount --bind subids /etc/subgid
mount --bind passwd /etc/passwd
if [ -s resolv.conf ] && [ -e /etc/resolv.conf ]; then mount --bind resolv.conf /etc/resolv.conf; fi
aliases=/etc/containers/registries.conf.d
if [ -d $aliases ]; then mount --bind no-aliases $aliases; fi
if [ -e /dev/net/tun ]; then mount --bind tun /dev/net/tun; fi
mount --bind -o "$BASES_MODE" "$BASES" bases
exec 3< auth.json
rm auth.json
mount --rbind . /tmp
if [ -d "$WORKSPACE" ]; then mount -t tmpfs -o size=4k,mode=0 tmpfs "$WORKSPACE"; fi
cd /tmp
ids="$_CONTAINERS_ROOTLESS_UID,0,65536"
unset CGROUPS BASES BASES_MODE WORKSPACE
if [ "$EMULATOR" ]; then set -- sh -ec "$REGISTER" sh "$@"; fi
unshare --user --map-users="$ids" --map-groups="$ids" --setuid 0 --setgid 0 --mount -- "$@" || exit $?
exit 0
"""
# The user namespace has emulators of its own: nobody else's programs are run by them.
_REGISTER = """\
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf %s "$EMULATOR" > /proc/sys/fs/binfmt_misc/register
unset EMULATOR REGISTER
exec "$@"
"""
ENTERED = ("sh", "-c", _ENTER, "sh")
AUTH_FILE = "/proc/self/fd/3"


class Room(Struct, frozen=True, kw_only=True):
    """One build's directory, `path`.

    Commands may write below `work` alone, and what buildah remembers of registries. `bases` is the store of base images
    that builds share, `user_id` the user they are to the machine, `groups` the control groups they enter, `network` the
    namespace of a network of their own, `emulator` what they register with binfmt_misc, `outward` the variables by
    which they find the way out.
    """

    path: Path
    workspace: Path
    bases: Path
    user_id: int
    groups: tuple[Path, ...] = ()
    network: Path | None = None
    emulator: str = ""
    outward: Mapping[str, str] = {}

    @property
    def work(self) -> Path:
        """What commands in the room call `/tmp/work`."""
        return self.path / "work"

    def environment(self, *, bases_mode: str = "ro") -> dict[str, str]:
        """The environment that a command in the room begins with; nothing of ours but the way out.

        A command that writes to `bases` keeps its data there too, for all builds.
        """
        return {
            "PATH": f"{HERE}/bin:{os.environ.get('PATH', os.defpath)}",
            "HOME": f"{HERE}/work",
            "TMPDIR": f"{HERE}/work",
            "XDG_RUNTIME_DIR": f"{HERE}/work",
            "XDG_DATA_HOME": f"{HERE}/bases" if bases_mode == "rw" else HERE,
            "WORKSPACE": str(self.workspace.resolve()),
            "BASES": str(self.bases.resolve()),
            "BASES_MODE": bases_mode,
            "EMULATOR": self.emulator,
            "REGISTER": _REGISTER,
            "CGROUPS": cgroups.entrances(self.groups),
            "_CONTAINERS_USERNS_CONFIGURED": "done",
            "_CONTAINERS_ROOTLESS_UID": str(self.user_id),
            "_CONTAINERS_ROOTLESS_GID": str(self.user_id),
            **self.outward,
        }

    def furnish(self, files: Mapping[str, str]) -> None:
        """Put into the empty room what `ENTERED` needs, and *files*."""
        self.path.chmod(0o711)
        # Buildah's chroot isolation begins with next to no environment, and looks for its user's home and such places.
        passwd = f"root:x:0:0::{HERE}/work:/bin/sh\nbuilds:x:{self.user_id}:{self.user_id}::{HERE}/work:/bin/sh\n"
        (self.path / "passwd").write_text(passwd)
        users = (f"{name}-{self.user_id}" for name in ("podman-run", "containers-user"))
        theirs = ("work", "work/context", "containers/cache", *users)
        for name in ("bases", "no-aliases", "bin", *theirs):
            (self.path / name).mkdir(parents=True)
        lay_tun(self.path)
        lay_ids(self.path, self.user_id)
        _write_program(self.path / "bin/slirp4netns", _SLIRP)
        for name, content in files.items():
            (self.path / name).write_text(content)
        for name in theirs:
            os.chown(self.path / name, self.user_id, self.user_id)

    def lend_credentials(self, content: bytes) -> None:
        """Lay an auth file ready for the next command, which takes it away."""
        path = self.path / "auth.json"
        path.touch(mode=0o600)
        path.write_bytes(content)
        os.chown(path, self.user_id, self.user_id)

    def read_digest(self, name: str) -> Digest:
        """The digest in the file *name* below `work`; nothing else, whatever a step has put there.

        Raises:
            BuildFailure: that is no file with a digest.
        """
        try:
            file = os.open(self.work / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(file) as opened:
                return parse_digest(opened.read(_LONGEST_DIGEST))
        except (OSError, UnicodeDecodeError, DigestInvalid) as error:
            raise BuildFailure(Reason.ENGINE, f"The engine left no {name}.") from error


def lay_tun(directory: Path) -> None:
    """Have in *directory* what slirp4netns looks for as `/dev/net/tun`, for every user."""
    os.mknod(directory / "tun", stat.S_IFCHR, _TUN)
    (directory / "tun").chmod(0o666)


def lay_ids(directory: Path, user_id: int) -> None:
    """Have in *directory* what newuidmap and newgidmap look for as `/etc/subuid` and `/etc/subgid`."""
    (directory / "subids").write_text(f"root:{user_id}:{USER_IDS}\n")


# Buildah 1.28 lets steps reach the machine's loopback through their gateway, and has no option against it.
_SLIRP = f"""\
#!/bin/sh
exec {shutil.which("slirp4netns") or "slirp4netns-is-missing"} --disable-host-loopback "$@"
"""


def _write_program(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o755)
