"""Platforms: for which machine an image is made.

Source: OCI image-spec, image-index.md, "platform"; the spellings are those that Wave accepts and containerd normalises.
"""

import re
from collections.abc import Mapping
from typing import Self

from msgspec import Struct

from swell.errors import BadRequest

ARCHITECTURES = ("amd64", "arm64", "arm")
"""Those that images are made for here."""

_SPELLINGS = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_WORD = re.compile(r"[a-z0-9][a-z0-9._-]*")


class Platform(Struct, frozen=True):
    """An operating system, an architecture and, where there are several, its variant; in canonical spelling."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def of(cls, os: str, architecture: str, variant: str | None = None) -> Self:
        """The platform in canonical spelling: `aarch64` is arm64, arm64 is v8 anyway, arm is v7 unless it says."""
        architecture = canonical_architecture(architecture)
        return cls(os, architecture, _canonical_variant(architecture, variant or None))

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def matches(self, entry: Mapping[str, object]) -> bool:
        """Whether *entry*, an index entry's `platform` or an image config, is for this platform."""
        named = [entry.get(name) or "" for name in ("os", "architecture", "variant")]
        match named:
            case [str(os), str(architecture), str(variant)]:
                return Platform.of(os, architecture, variant) == self
        return False


def canonical_architecture(name: str) -> str:
    """`amd64` for `x86_64`, `arm64` for `aarch64`; others as they are."""
    return _SPELLINGS.get(name, name)


def _canonical_variant(architecture: str, variant: str | None) -> str | None:
    match architecture, variant:
        case "arm64", "8" | "v8":
            return None
        case "arm", None:
            return "v7"
        case "arm", "5" | "6" | "7" | "8":
            return f"v{variant}"
    return variant


def parse_platform(text: str) -> Platform:
    """Read `[os/]architecture[/variant]`; the system is linux unless it says.

    Raises:
        BadRequest: it is not one platform, or an architecture that no image is made for here.
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
