"""Platforms: the operating system and processor of an image.

The spellings are those that Wave accepts and containerd normalises. The order of preference is that of containerd's
`platforms.Only`.
Sources: OCI image-spec, "platform", https://github.com/opencontainers/image-spec/blob/main/image-index.md; containerd,
https://pkg.go.dev/github.com/containerd/platforms
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Self

from msgspec import Struct

from swell.errors import BadRequest

ARCHITECTURES = ("amd64", "arm64", "arm")
"""The architectures that this server builds for."""

_SPELLINGS = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_OLD_SPELLINGS = {"i386": ("386", ""), "armhf": ("arm", "v7"), "armel": ("arm", "v6")}
_ARM64 = re.compile(r"v(8|9)(?:\.(\d))?")
_WORD = re.compile(r"[a-z0-9][a-z0-9._-]*")


class Platform(Struct, frozen=True):
    """An operating system, an architecture and an optional variant, in canonical spelling."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def of(cls, os: str, architecture: str, variant: str | None = None) -> Self:
        """Return the platform in canonical spelling: `aarch64` is arm64, arm64 is v8, arm without a variant is v7."""
        architecture = canonical_architecture(architecture)
        return cls(os, architecture, _canonical_variant(architecture, variant or None))

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def matches(self, entry: Mapping[str, object]) -> bool:
        """Return whether machines of this platform run *entry*, the `platform` of an index entry or an image config."""
        return self.rank(entry) is not None

    def rank(self, entry: Mapping[str, object]) -> int | None:
        """Return the preference of *entry*: 0 is the platform itself, higher is worse; None when it cannot run."""
        named = [entry.get(name) or "" for name in ("os", "architecture", "variant")]
        match named:
            case [str(os), str(architecture), str(variant)]:
                runnable = _runnable(self)
                other = _normalized(os, architecture, variant)
                return runnable.index(other) if other in runnable else None
        return None

    def best(self, entries: Iterable[Mapping[str, object]]) -> int | None:
        """Return the lowest rank of *entries*; None when no entry runs on this platform."""
        return min((rank for rank in map(self.rank, entries) if rank is not None), default=None)


@lru_cache(maxsize=256)
def _runnable(platform: Platform) -> tuple[Platform, ...]:
    """Return what a machine of *platform* runs, best first: its variant, older variants, 32-bit variants."""
    os, architecture = platform.os, platform.architecture
    match architecture:
        case "amd64":
            older = [*_variants("amd64", platform, 1), Platform(os, "386")]
        case "arm":
            older = _variants("arm", platform, 5)
        case "arm64":
            older = _older_arm64(platform)
        case _:
            older = []
    return tuple(dict.fromkeys([platform, *older]))


def _variants(architecture: str, platform: Platform, oldest: int) -> list[Platform]:
    """Return the older variants of *platform*, down to *oldest*; v1 of amd64 is amd64."""
    number = (platform.variant or "").removeprefix("v")
    if not re.fullmatch(r"\d{1,2}", number):
        return []
    return [Platform.of(platform.os, architecture, f"v{each}") for each in range(int(number) - 1, oldest - 1, -1)]


def _older_arm64(platform: Platform) -> list[Platform]:
    """Return the variants that an arm64 machine runs: v9.x also runs v8.(x+5); all run 32-bit v8 and older."""
    variant = platform.variant or "v8"
    names: list[str] = []
    if found := _ARM64.fullmatch(variant):
        major, minor = int(found[1]), int(found[2] or 0)
        if major == 9:
            names += [f"v9.{each}" if each else "v9" for each in range(minor - 1, -1, -1)]
            minor += 5
            names.append(f"v8.{minor}")
        names += [f"v8.{each}" if each else "v8" for each in range(minor - 1, -1, -1)]
    arm = Platform.of(platform.os, "arm", "v8" if variant.startswith(("v8.", "v9.")) else variant)
    return [*(Platform.of(platform.os, "arm64", name) for name in names), arm, *_variants("arm", arm, 5)]


def _normalized(os: str, architecture: str, variant: str) -> Platform:
    """Return the platform of an index entry or config; its fields are untrusted."""
    architecture, variant = _OLD_SPELLINGS.get(architecture.lower(), (architecture.lower(), variant.lower()))
    return Platform.of(os.lower(), architecture, variant)


def canonical_architecture(name: str) -> str:
    """Return `amd64` for `x86_64`, `arm64` for `aarch64`, and other names unchanged."""
    return _SPELLINGS.get(name, name)


def _canonical_variant(architecture: str, variant: str | None) -> str | None:
    match architecture, variant:
        case ("arm64", "8" | "v8") | ("amd64", "v1"):
            return None
        case "arm", None:
            return "v7"
        case "arm", "5" | "6" | "7" | "8":
            return f"v{variant}"
    return variant


@lru_cache(maxsize=256)
def parse_platform(text: str) -> Platform:
    """Parse `[os/]architecture[/variant]`; the default system is linux.

    Raises:
        BadRequest: it is not one platform, or the architecture is not supported.
    """
    parts = text.split("/")
    if len(parts) == 1:
        parts = ["linux", *parts]
    if len(parts) > 3 or not all(_WORD.fullmatch(part) for part in parts):
        raise BadRequest(f"'{text[:80]}' is no platform: expected [os/]architecture[/variant], as in linux/amd64")
    platform = Platform.of(*parts)
    if platform.architecture not in ARCHITECTURES:
        raise BadRequest(f"Architecture '{parts[1][:80]}' is not supported: choose one of {', '.join(ARCHITECTURES)}")
    return platform
