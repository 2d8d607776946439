"""Platforms that a machine can run: its own, and those that the kernel hands to an emulator."""

import re

_NATIVE = {"x86_64": {"amd64", "386"}, "aarch64": {"arm64"}, "ppc64le": {"ppc64le"}, "s390x": {"s390x"}}
_EMULATORS = {"amd64": "x86_64", "arm64": "aarch64", "386": "i386"}

_FROM = re.compile(r"^[ \t]*FROM[ \t]+(--platform=)?", re.IGNORECASE)
_RUN = re.compile(r"^[ \t]*RUN[ \t]", re.IGNORECASE)


def emulator_of(platform: str, machine: str) -> str | None:
    """What the kernel of *machine* (as uname tells it) calls the emulator for *platform*; None: it needs none."""
    architecture = platform.split("/")[1]
    if architecture in _NATIVE.get(machine, {machine}):
        return None
    return f"qemu-{_EMULATORS.get(architecture, architecture)}"


def runs_steps(containerfile: str) -> bool:
    """Whether a stage of the target's platform has steps: a stage whose FROM names another may cross-compile."""
    elsewhere = False
    for line in containerfile.splitlines():
        if begins := _FROM.match(line):
            elsewhere = begins[1] is not None
        elif _RUN.match(line) and not elsewhere:
            return True
    return False
