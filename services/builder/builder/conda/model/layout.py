"""The layout of an environment: the owner of each path, and the layer of each package.

Images share equal layers. So the large packages get a layer each, which depends on nothing but the package; all the
small ones share the last.
"""

import posixpath
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from builder.conda.model.package import Link, Malformed

_MAX_HOPS = 40
Files = Mapping[str, Sequence[Link]]
"""The links of each package, by its name."""


class Layout(Struct, frozen=True):
    """The owner of each path; every path has one. `contested` has the paths that several packages contain."""

    files: Files
    contested: tuple[str, ...] = ()


def group(sizes: Mapping[str, int], *, worth: int, most: int) -> list[list[str]]:
    """Group package names into layers: largest first, each of at least *worth* bytes alone, the others in the last one.

    At most *most* layers, of which the last is there always, if only for what belongs to the environment as a whole.
    """
    by_size = sorted(sizes, key=lambda name: (-sizes[name], name))
    own = [name for name in by_size[: max(most - 1, 0)] if sizes[name] >= worth]
    return [*([name] for name in own), sorted(set(sizes) - set(own))]


def directory_symlinks(files: Files) -> dict[str, str]:
    """Return the directory symlinks that other paths go through, with their packages."""
    links = {link.target: name for name, found in files.items() for link in found if _is_softlink(link)}
    parents = {parent for found in files.values() for link in found for parent in _parents(link.target)}
    return {target: name for target, name in links.items() if target in parents}


def settle(files: Files, leads_to: Mapping[str, str]) -> Layout:
    """Assign each path to one package: the first by name of those that contain it.

    *leads_to* has the target of each of the `directory_symlinks`; a path through one is moved to its target.

    Raises:
        Malformed: a path is a file for one package and a folder for another, or a link leads out of the prefix.
    """
    taken: dict[str, Link] = {}
    settled: dict[str, list[Link]] = {}
    contested: list[str] = []
    for name in sorted(files):
        settled[name] = []
        for link in sorted(files[name], key=lambda link: link.target):
            target = _behind(link.target, leads_to)
            if target in taken:
                if not _is_folder(link):
                    contested.append(target)
                continue
            taken[target] = link
            settled[name].append(Link(target, link.source, link.content))
    if clash := sorted(
        taken.keys() & {p for target, link in taken.items() for p in _parents(target)} - _folders(taken)
    ):
        raise Malformed(f"{clash[0]!r} is a file of one package and a folder of another")
    return Layout(settled, tuple(sorted(set(contested))))


def _folders(taken: Mapping[str, Link]) -> set[str]:
    return {target for target, link in taken.items() if _is_folder(link)}


def _behind(target: str, leads_to: Mapping[str, str]) -> str:
    for _ in range(_MAX_HOPS):
        door = next((parent for parent in _parents(target) if parent in leads_to), None)
        if door is None:
            return target
        where = posixpath.normpath(posixpath.join(posixpath.dirname(door), leads_to[door]))
        if where.startswith(("..", "/")):
            break
        target = posixpath.normpath(posixpath.join(where, target[len(door) + 1 :]))
    raise Malformed(f"{target!r} goes through a symlink that leaves the prefix")


def _parents(target: str) -> Iterable[str]:
    parts = target.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))


def _is_folder(link: Link) -> bool:
    return link.source is not None and link.source.path_type == "directory"


def _is_softlink(link: Link) -> bool:
    return link.source is not None and link.source.path_type == "softlink"
