"""Platforms that a machine can run: its own, and those that the kernel hands to an emulator."""

from swell.oci.platform import ARCHITECTURES

PLATFORMS = {architecture: f"linux/{architecture}" for architecture in ARCHITECTURES}
"""Those that images are made for here, by architecture."""

_NATIVE = {"x86_64": {"amd64", "386"}, "aarch64": {"arm64"}, "ppc64le": {"ppc64le"}, "s390x": {"s390x"}}
_EMULATORS = {"amd64": "x86_64", "arm64": "aarch64", "386": "i386"}


def emulator_of(platform: str, machine: str) -> str | None:
    """What the kernel of *machine* (as uname tells it) calls the emulator for *platform*; None: it needs none."""
    architecture = platform.split("/")[1]
    if architecture in _NATIVE.get(machine, {machine}):
        return None
    return f"qemu-{_EMULATORS.get(architecture, architecture)}"


def is_left_out(platform: str, only: tuple[str, ...]) -> bool:
    """Whether the operator names platforms, and none of the architecture of *platform*."""
    return bool(only) and platform.split("/")[1] not in {each.split("/")[1] for each in only}


def left_out(platform: str) -> str:
    """In words, what lacks then."""
    return f"{platform} in SWELL_BUILD_PLATFORMS"


def left_out_of(only: tuple[str, ...]) -> dict[str, str]:
    """The same for each architecture that is left out."""
    return {name: left_out(each) for name, each in PLATFORMS.items() if is_left_out(each, only)}
