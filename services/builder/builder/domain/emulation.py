"""Platforms that a machine can run: its own, and those that the kernel runs with an emulator."""

from swell.oci.platform import ARCHITECTURES

PLATFORMS = {architecture: f"linux/{architecture}" for architecture in ARCHITECTURES}
"""The platforms that images are built for, by architecture."""

_NATIVE = {"x86_64": {"amd64", "386"}, "aarch64": {"arm64"}, "ppc64le": {"ppc64le"}, "s390x": {"s390x"}}
_EMULATORS = {"amd64": "x86_64", "arm64": "aarch64", "386": "i386"}


def emulator_of(platform: str, machine: str) -> str | None:
    """Return the kernel's name of the emulator for *platform* on *machine* (uname -m); None if it needs no emulator."""
    architecture = platform.split("/")[1]
    if architecture in _NATIVE.get(machine, {machine}):
        return None
    return f"qemu-{_EMULATORS.get(architecture, architecture)}"


def is_excluded(platform: str, only: tuple[str, ...]) -> bool:
    """Whether *only* is not empty and has no platform with the architecture of *platform*."""
    return bool(only) and platform.split("/")[1] not in {each.split("/")[1] for each in only}


def exclusion(platform: str) -> str:
    """Describe what is missing for an excluded platform."""
    return f"{platform} in SWELL_BUILD_PLATFORMS"


def exclusions(only: tuple[str, ...]) -> dict[str, str]:
    """Describe what is missing, for each excluded architecture."""
    return {name: exclusion(each) for name, each in PLATFORMS.items() if is_excluded(each, only)}
