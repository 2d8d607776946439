"""The results of a search for packages."""

from collections.abc import Iterable, Iterator

from msgspec import Struct


class FoundPackage(Struct, frozen=True):
    """A package of `channel`, as the operator has named it; the newest of `versions` is first."""

    name: str
    channel: str
    versions: tuple[str, ...]
    summary: str


def matching(text: str, names: Iterable[str]) -> Iterator[str]:
    """The *names* that contain *text*: the exact one, those that begin with it, then the others; short ones first."""
    wanted = text.strip().lower()
    if not wanted:
        return iter(())
    found = [name for name in names if wanted in name]
    return iter(sorted(found, key=lambda name: (name != wanted, not name.startswith(wanted), len(name), name)))
