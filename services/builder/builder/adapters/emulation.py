"""Whether, and how, this machine can run the steps of a platform. Source: the kernel's admin-guide/binfmt-misc."""

import os
import platform as machine
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from builder.domain.emulation import PLATFORMS, emulator_of, is_left_out, left_out

_CONFIGURED = (Path("/etc/binfmt.d"), Path("/usr/lib/binfmt.d"))
_FIRST_KERNEL = (6, 7)  # which keeps emulators for each user namespace


class Emulators(Struct, frozen=True):
    """What the machine has: emulators *registered* with its kernel, and others only *configured*, as binfmt.d(5) has it
    (Debian's qemu-user-static brings such files), which a build's room can register for itself.

    Where *only* some platforms are named, the machine is there for no others.
    """

    registered: Path = Path("/proc/sys/fs/binfmt_misc")
    configured: tuple[Path, ...] = _CONFIGURED
    kernel: tuple[int, int] = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))  # type: ignore[assignment]
    only: tuple[str, ...] = ()

    def registration(self, platform: str) -> str | None:
        """What a room has to register to run steps for *platform* (`os/architecture`), which may be nothing; None:
        this machine cannot."""
        if is_left_out(platform, self.only):
            return None
        emulator = emulator_of(platform, machine.machine())
        if emulator is None or self._is_registered(emulator):
            return ""
        if self.kernel < _FIRST_KERNEL:
            return None
        return next(self._configured(emulator), None)

    def lacking(self, platform: str) -> str:
        """In words, what would have to be there for *platform*."""
        if is_left_out(platform, self.only):
            return left_out(platform)
        package = f"{emulator_of(platform, machine.machine())}-static (Debian's qemu-user-static)"
        if self.kernel < _FIRST_KERNEL:
            return f"{package}, registered with the flag F in a mounted binfmt_misc"
        return package

    def lacks(self) -> dict[str, str]:
        """What would have to be there, for each architecture whose steps this machine cannot run."""
        return {name: self.lacking(each) for name, each in PLATFORMS.items() if self.registration(each) is None}

    def _is_registered(self, emulator: str) -> bool:
        try:
            told = (self.registered / emulator).read_text().splitlines()
        except OSError:
            return False
        flags = next((line.removeprefix("flags:") for line in told if line.startswith("flags:")), "")
        return "enabled" in told and "F" in flags

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
