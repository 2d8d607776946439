"""What the machine itself must have: commands on the PATH, free ports."""

import asyncio
import shutil
from collections.abc import Iterable

from swell_embedded.errors import CannotStart
from swell_embedded.ports import holder, is_free
from swell_embedded.program import Program

PACKAGES = {
    "buildah": "buildah",
    "docker-registry": "docker-registry",
    "runc": "runc",
    "setpriv": "util-linux",
    "skopeo": "skopeo",
}
"""Command -> the Debian package that has it."""

_PATIENCE = 2.0  # seconds in which the processes of a killed predecessor give their ports back


def require_tools(programs: Iterable[Program]) -> None:
    """See that every command is there that *programs* want on their PATH.

    Raises:
        CannotStart: names the packages, and how to get them.
    """
    missing = sorted(
        {
            PACKAGES.get(tool, tool)
            for program in programs
            for tool in (*program.tools, "setpriv")
            if not shutil.which(tool, path=program.environment.get("PATH"))
        }
    )
    if missing:
        packages = " ".join(missing)
        raise CannotStart(f"this machine lacks {packages}: `make system`, or `apt-get install {packages}` as root")


async def require_ports(programs: Iterable[Program]) -> None:
    """See that every port is free that *programs* want.

    Raises:
        CannotStart: names each port, what it is for, and who has it where we may know.
    """
    wanted = {port: program.name for program in programs for port in program.ports}
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    while taken := [port for port in wanted if not is_free(port)]:
        if asyncio.get_running_loop().time() > deadline:
            complaints = "; ".join(_complaint(port, wanted[port]) for port in taken)
            raise CannotStart(f"{complaints}. End that, or use --free-ports")
        await asyncio.sleep(0.05)


def _complaint(port: int, name: str) -> str:
    return f"port {port}, meant for {name}, is taken by {holder(port) or 'another process'}"
