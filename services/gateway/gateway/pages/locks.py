"""What changed between two lock files: the packages that were added, removed, or have another version."""

from collections.abc import Iterator

from msgspec import Struct

MOST_CHANGES = 100


class Change(Struct, frozen=True, order=True):
    """A package whose version (with the build) was `before` and is `after`; empty if it is missing."""

    name: str
    before: str
    after: str


def changes(before: str, after: str) -> tuple[Change, ...]:
    """The differences between two explicit lock files of Conda, by name."""
    old, new = dict(_packages(before)), dict(_packages(after))
    names = sorted(old.keys() | new.keys())
    return tuple(Change(name, old.get(name, ""), new.get(name, "")) for name in names if old.get(name) != new.get(name))


def _packages(lock: str) -> Iterator[tuple[str, str]]:
    """The name and the version of each package: the last part of its URL is `<name>-<version>-<build>.conda`."""
    for line in lock.splitlines():
        if not line.startswith(("http://", "https://", "file://")):
            continue
        file = line.partition("#")[0].rpartition("/")[2].removesuffix(".conda").removesuffix(".tar.bz2")
        name, _, version = file.rpartition("-")[0].rpartition("-")
        if name:
            yield name, f"{version}-{file.rpartition('-')[2]}"
