"""Which processes are root: the builder, the scanner and the supervisor. All others belong to the operator's user.

They isolate programs that are not trusted: with namespaces of other user ids, cgroups and networks. An operator without
root starts the supervisor through sudo(8), which passes the environment on without showing it to other users.
Sources: sudo(8), https://www.sudo.ws/docs/man/sudo.man/; setpriv(1), https://man7.org/linux/man-pages/man1/setpriv.1.html
"""

import os
import pwd
import shutil
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import NoReturn

from msgspec import Struct

from swell_embedded.errors import CannotStart

NEEDS_ROOT = (
    "Swell's builder and scanner need root, because they isolate programs in namespaces with other user ids. All "
    "other processes run as your user"
)
_PASSED = ("HOME", "LANG", "PATH", "SSL_CERT_FILE", "TERM", "TZ", "XDG_CACHE_HOME")
_ROOTS_OWN = frozenset({"builder", "scanner"})  # folders in the home folder


class Owner(Struct, frozen=True, kw_only=True):
    """The user that owns the home folder and runs all processes that need no root; `home` is its home directory."""

    uid: int
    gid: int
    name: str
    home: str

    @property
    def is_root(self) -> bool:
        return self.uid == 0

    def command(self, *command: str) -> tuple[str, ...]:
        """Return *command* as this user, if this process is root and the user is not."""
        if self.is_root or os.geteuid() != 0:
            return command
        return ("setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups", "--", *command)


def owner_of(folder: Path, environment: Mapping[str, str] = os.environ) -> Owner:
    """Return the owner of the stack in *folder*: this user; for root, the user of sudo, or else the folder's owner."""
    uid = os.geteuid()
    if uid == 0:
        uid = int(environment.get("SUDO_UID") or (folder.stat().st_uid if folder.exists() else 0))
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Owner(uid=0, gid=0, name="root", home="/root")
    return Owner(uid=uid, gid=entry.pw_gid, name=entry.pw_name, home=entry.pw_dir)


def needs_root(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process cannot start the builder: it is not root, and builds do not run in a cluster."""
    return os.geteuid() != 0 and environment.get("SWELL_BUILD_WHERE", "here") == "here"


def become_root(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> NoReturn:
    """Replace this process with the same command as root, by sudo.

    Raises:
        CannotStart: sudo is missing.
    """
    sudo = shutil.which("sudo")
    if sudo is None:
        raise CannotStart(f"{NEEDS_ROOT}. Start Swell as root, or install sudo")
    passed = [name for name in environment if name in _PASSED or name.startswith("SWELL_") or name == "PYTHONPATH"]
    program = (sys.executable, "-B", "-m", "swell_embedded")  # -B: no bytecode files of root in the tree of a user
    command = (sudo, f"--preserve-env={','.join(sorted(passed))}", "--", *program)
    os.execve(sudo, (*command, *arguments), dict(environment))  # noqa: S606 (the operator's own command)


def act_for(owner: Owner, environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the variables of *owner*'s login in *environment*, and make new files readable, before the stack starts.

    Programs that `make` has compiled are in the cache of the user.
    """
    os.umask(0o022)  # steps of builds are other users; the home folder itself is private
    if os.geteuid() != 0 or owner.is_root:
        return
    environment.setdefault("XDG_CACHE_HOME", f"{owner.home}/.cache")
    environment.update(HOME=owner.home, USER=owner.name, LOGNAME=owner.name)


def hand_over(home: Path, owner: Owner) -> None:
    """Give the files in *home* to *owner*, except those of the builder and the scanner; only root changes anything."""
    if os.geteuid() != 0 or owner.is_root:
        return
    for path in (home, *_files(home, owner)):
        os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


def _files(folder: Path, owner: Owner) -> Iterator[Path]:
    """The files below *folder*. A data folder that *owner* has already is left out: its files are the program's own."""
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if entry.name in _ROOTS_OWN and folder.name != "data":
            continue
        yield path
        is_known = folder.name == "data" and entry.stat(follow_symlinks=False).st_uid == owner.uid
        if entry.is_dir(follow_symlinks=False) and not is_known:
            yield from _files(path, owner)
