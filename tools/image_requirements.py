"""`python -m tools.image_requirements FOLDER`: write the locked requirements of each service's image to a folder.

`requirements.txt` locks everything, with the tools of developers. An image needs only what its service imports: the
closure of its package's dependencies, as installed here, with the same versions and hashes.
"""

import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")
SERVICES = ("builder", "gateway", "metrics", "registry-proxy", "scanner")
UNUSED = {
    "granian": {"click"},
    "litestar": {"click", "httpx", "polyfactory", "rich", "rich-click"},
    "mkdocs-swagger-ui-tag": {"beautifulsoup4"},
}
"""Dependencies of packages that no service imports: examples of OpenAPI, command lines, a client for tests, a plug-in
of a site's builder. With their own dependencies they are as large as everything that is written in Python."""


def closure(root: str) -> set[str]:
    """Return the canonical names of *root* and of all its dependencies that are installed."""
    seen: dict[str, frozenset[str]] = {}
    todo = [(canonicalize_name(root), frozenset[str]())]
    while todo:
        name, extras = todo.pop()
        if name in seen and extras <= seen[name]:
            continue
        seen[name] = seen.get(name, frozenset()) | extras
        todo += [
            (canonicalize_name(needed.name), frozenset(needed.extras))
            for needed in _dependencies(name)
            if canonicalize_name(needed.name) not in UNUSED.get(name, ())
            and (needed.marker is None or any(needed.marker.evaluate(each) for each in _environments(seen[name])))
        ]
    return set(seen)


def _environments(extras: Iterable[str]) -> Iterator[dict[str, str]]:
    """The environments of images: each supported Python, with each of *extras* or none."""
    for extra in ("", *extras):
        for version in PYTHONS:
            yield {"extra": extra, "python_full_version": version, "python_version": version.rpartition(".")[0]}


def _dependencies(name: str) -> Iterable[Requirement]:
    try:
        return map(Requirement, distribution(name).requires or ())
    except PackageNotFoundError:  # for another platform
        return ()


def blocks(locked: str) -> Iterator[tuple[str, str]]:
    """Yield each package of the lock file *locked*, as its canonical name and its lines with hashes."""
    block: list[str] = []
    for line in locked.splitlines(keepends=True):
        block.append(line)
        if not line.rstrip().endswith("\\"):
            text = "".join(block)
            yield canonicalize_name(text.split("==", 1)[0].strip()), text
            block = []


def requirements_of(service: str, locked: str) -> str:
    """Return the lines of *locked* that the image of *service* needs."""
    names = closure(service)
    return "".join(text for name, text in blocks(locked) if name in names)


def main() -> None:
    folder, locked = Path(sys.argv[1]), (ROOT / "requirements.txt").read_text()
    folder.mkdir(parents=True, exist_ok=True)
    for service in SERVICES:
        (folder / f"{service}.txt").write_text(requirements_of(service, locked))


if __name__ == "__main__":
    main()
