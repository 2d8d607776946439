"""What the engine requires of its machine."""

import shutil
from pathlib import Path

from builder.adapters.emulation import Emulators
from builder.buildkit.daemons.pool import DaemonPool
from builder.domain.emulation import PLATFORMS
from builder.settings import EngineSettings
from swell.errors import Unavailable
from swell_sandbox import SandboxUnavailable

TRIAL = ""
"""The group of the daemon that is started to prove that it starts; no build has it."""


class CannotStart(Unavailable):
    """BuildKit does not start on this machine."""


def missing_programs() -> list[str]:
    """Return the programs and devices that this machine lacks for the engine, apart from BuildKit itself."""
    names = ("runc", "slirp4netns", "newuidmap", "setpriv", "unshare", "nsenter")
    missing = [name for name in names if not shutil.which(name)]
    return missing if Path("/dev/net/tun").exists() else [*missing, "/dev/net/tun"]


def registrations(settings: EngineSettings) -> list[str]:
    """Return the `binfmt_misc` lines of the emulators that this machine has for the platforms of *settings*."""
    emulators = Emulators(only=settings.build_platforms)
    return [line for platform in PLATFORMS.values() if (line := emulators.registration(platform))]


async def prove(daemons: DaemonPool) -> None:
    """Start a daemon and ask it for its workers.

    Raises:
        CannotStart: that failed; the message has the end of the daemon's output.
    """
    try:
        async with daemons.take(TRIAL) as lease:
            async with lease.daemon.client(["debug", "workers"]) as client:
                output, _ = await client.communicate()
            if client.returncode:
                raise CannotStart(f"builds cannot run here: {output.decode(errors='replace')[-300:]}")
            lease.keep()
    except (OSError, SandboxUnavailable) as error:
        raise CannotStart(f"builds cannot run here: {error}") from error
