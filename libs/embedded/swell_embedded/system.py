"""Requirements of the machine: commands on the PATH and free ports."""

import asyncio
import shutil
from collections.abc import Iterable

from swell_embedded.errors import CannotStart
from swell_embedded.ports import holder, is_free
from swell_embedded.processes.program import Program

PACKAGES = {
    "buildah": "buildah",
    "docker-registry": "docker-registry",
    "runc": "runc",
    "setpriv": "util-linux",
    "skopeo": "skopeo",
}
"""Maps a command to its Debian package."""

_PORT_TIMEOUT = 2.0  # seconds for a stack that was killed to release its ports


def require_tools(programs: Iterable[Program]) -> None:
    """Check that the commands of *programs* are on their PATH.

    Raises:
        CannotStart: a command is missing; the message names the packages to install.
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
        raise CannotStart(f"this machine lacks {packages}: run `make system`, or `apt-get install {packages}` as root")


async def require_ports(programs: Iterable[Program]) -> None:
    """Check that the ports of *programs* are free.

    Raises:
        CannotStart: a port is in use; the message names the port, its program, and the process that uses it.
    """
    owners = {port: program.name for program in programs for port in program.ports}
    deadline = asyncio.get_running_loop().time() + _PORT_TIMEOUT
    while taken := [port for port in owners if not is_free(port)]:
        if asyncio.get_running_loop().time() > deadline:
            complaints = "; ".join(_complaint(port, owners[port]) for port in taken)
            hint = "make up PORTS=+1000 (python -m swell_embedded up --ports +1000)"
            raise CannotStart(f"{complaints}. Stop that process, or start Swell on other ports: {hint}")
        await asyncio.sleep(0.05)


def _complaint(port: int, name: str) -> str:
    return f"port {port} (for {name}) is in use by {holder(port) or 'another process'}"
