"""Lock files of conda: the URL and the sha256 of each package, which is all that a build needs.

Source: conda, "Building identical conda environments" (explicit files, with `#sha256:`),
https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html#building-identical-conda-environments
"""

import re
from collections.abc import Iterable

from msgspec import Struct

from swell.errors import BadRequest

MAX_PACKAGES = 5000

_EXPLICIT = "@EXPLICIT"
_PACKAGE = re.compile(
    r"(?P<channel>(?:https?|file)://[^\s#?@]+)/(?P<subdir>[a-z0-9_-]+)/(?P<file>[A-Za-z0-9._+!%~-]+?)"
    r"(?P<extension>\.conda|\.tar\.bz2)#sha256:(?P<sha256>[0-9a-f]{64})"
)


class LockedPackage(Struct, frozen=True, order=True):
    """An archive in a channel: `file` is its name, `subdir` the folder of its platform, `sha256` is in hex."""

    file: str
    channel: str
    subdir: str
    sha256: str

    @property
    def url(self) -> str:
        return f"{self.channel}/{self.subdir}/{self.file}"

    @property
    def is_conda(self) -> bool:
        """Whether it has the newer format, a zip of two tars; the older format is one tar."""
        return self.file.endswith(".conda")


def locked(url: str, sha256: str) -> LockedPackage:
    """Return the locked package at *url*.

    Raises:
        BadRequest: no channel has such an address.
    """
    found = _PACKAGE.fullmatch(f"{url}#sha256:{sha256}")
    if not found:
        raise BadRequest(f"{url[:200]!r} is not the URL of a package: expected .../SUBDIR/NAME.conda with a sha256")
    return LockedPackage(found["file"] + found["extension"], found["channel"], found["subdir"], found["sha256"])


def write_lock(subdir: str, packages: Iterable[LockedPackage]) -> str:
    """Return the lock file of *packages* for *subdir*; equal packages give equal text."""
    lines = [f"# platform: {subdir}", _EXPLICIT, *(f"{each.url}#sha256:{each.sha256}" for each in sorted(packages))]
    return "\n".join(lines) + "\n"


def read_lock(text: str, subdir: str) -> tuple[LockedPackage, ...]:
    """Parse the lock file *text* for the platform *subdir*.

    Raises:
        BadRequest: a line is no package with a sha256, or is for another platform; the message has the line.
    """
    lines = [stripped for line in text.splitlines() if (stripped := line.strip()) and not stripped.startswith("#")]
    packages = [_read(line, subdir) for line in lines if line != _EXPLICIT]
    if len(packages) > MAX_PACKAGES:
        raise BadRequest(f"the lock file has more than {MAX_PACKAGES} packages")
    return tuple(sorted(set(packages)))


def _read(line: str, subdir: str) -> LockedPackage:
    url, _, sha256 = line.partition("#sha256:")
    if not sha256:
        raise BadRequest(f"the lock file has {line[:200]!r}; each line needs its #sha256:, md5 is not enough")
    package = locked(url, sha256)
    if package.subdir not in {subdir, "noarch"}:
        raise BadRequest(f"the lock file has {line[:200]!r}, which is not for {subdir}")
    return package
