"""How this machine runs the steps of a platform: natively, or with an emulator.

Source: Linux, admin-guide/binfmt-misc, https://docs.kernel.org/admin-guide/binfmt-misc.html
Source: binfmt.d(5), https://www.freedesktop.org/software/systemd/man/latest/binfmt.d.html
"""

import os
import platform as machine
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from builder.domain.emulation import PLATFORMS, emulator_of, exclusion, is_excluded

_CONFIGURED = (Path("/etc/binfmt.d"), Path("/usr/lib/binfmt.d"))
_FIRST_KERNEL = (6, 7)  # the first with emulators for each user namespace


class Emulators(Struct, frozen=True):
    """The emulators of this machine.

    Those in `registered` are known to the kernel. A sandbox can register those that are only in `configured`, folders
    of binfmt.d(5), such as those of Debian's qemu-user-static. If `only` is not empty, no other platforms are built.
    """

    registered: Path = Path("/proc/sys/fs/binfmt_misc")
    configured: tuple[Path, ...] = _CONFIGURED
    kernel: tuple[int, int] = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))  # type: ignore[assignment]
    only: tuple[str, ...] = ()

    def registration(self, platform: str) -> str | None:
        """Return the line that a sandbox registers to run steps for *platform* (`os/architecture`).

        It is empty if nothing has to be registered, and None if this machine cannot run such steps.
        """
        if is_excluded(platform, self.only):
            return None
        emulator = emulator_of(platform, machine.machine())
        if emulator is None or self._is_registered(emulator):
            return ""
        if self.kernel < _FIRST_KERNEL:
            return None
        return next(self._configured(emulator), None)

    def missing(self, platform: str) -> str:
        """Describe what this machine needs to run steps for *platform*."""
        if is_excluded(platform, self.only):
            return exclusion(platform)
        package = f"{emulator_of(platform, machine.machine())}-static (Debian's qemu-user-static)"
        if self.kernel < _FIRST_KERNEL:
            return f"{package}, registered with the flag F in a mounted binfmt_misc"
        return package

    def missing_emulators(self) -> dict[str, str]:
        """Describe what is missing, by architecture, for all platforms whose steps this machine cannot run."""
        return {name: self.missing(each) for name, each in PLATFORMS.items() if self.registration(each) is None}

    def _is_registered(self, emulator: str) -> bool:
        try:
            lines = (self.registered / emulator).read_text().splitlines()
        except OSError:
            return False
        flags = next((line.removeprefix("flags:") for line in lines if line.startswith("flags:")), "")
        return "enabled" in lines and "F" in flags

    def _configured(self, emulator: str) -> Iterator[str]:
        for folder in self.configured:
            for name in (f"{emulator}.conf", f"{emulator}-static.conf"):
                for line in _lines(folder / name):
                    *_, interpreter, flags = line.split(":")
                    if line.startswith(f":{emulator}") and "F" in flags and Path(interpreter).exists():
                        yield line


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text().splitlines() if line.count(":") == 7]
    except OSError:
        return []
