"""Whether this machine can run the steps of a platform. Source: the kernel's admin-guide/binfmt-misc."""

import platform as machine
from pathlib import Path

from builder.domain.emulation import emulator_of

_BINFMT = Path("/proc/sys/fs/binfmt_misc")


def lacks(platform: str, registered: Path = _BINFMT) -> str | None:
    """What steps for *platform* (`os/architecture`) lack on this machine, in words; None: nothing.

    *registered* is where binfmt_misc is mounted.
    """
    emulator = emulator_of(platform, machine.machine())
    if emulator is None:
        return None
    if not (registered / "register").exists():
        return f"{emulator}-static (binfmt_misc is not mounted)"
    try:
        told = (registered / emulator).read_text().splitlines()
    except OSError:
        return f"{emulator}-static (it is not registered with binfmt_misc)"
    flags = next((line.removeprefix("flags:") for line in told if line.startswith("flags:")), "")
    if "enabled" not in told or "F" not in flags:
        return f"{emulator}-static, enabled and with the flag F in binfmt_misc"
    return None
