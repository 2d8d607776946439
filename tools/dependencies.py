"""Compare the direct dependencies with the list in `dependencies.toml`, and look for look-alike names.

The rules are explained in docs/dependencies.md; `make check` runs this through `tests/unit/tools/test_dependencies.py`.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

LIST = Path(__file__).with_name("dependencies.toml")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_AFFIX = re.compile(r"^(?:python|py)-?(?=.{3})|-?(?:python|py)?[0-9]?$")


def normalized(requirement: str) -> str:
    """Return the package name of *requirement* as indexes compare it: lower case, `-` for runs of `.`, `_` and `-`.

    Source: Python packaging specification, "Names and normalization",
    https://packaging.python.org/en/latest/specifications/name-normalization/
    """
    if not (match := _NAME.match(requirement)):
        raise ValueError(f"{requirement!r} does not begin with a package name")
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def direct(pyproject: str) -> set[str]:
    """Return the names that the text of a pyproject file requires: to run, to build, in extras and in groups."""
    document = tomllib.loads(pyproject)
    project = document.get("project", {})
    groups = [
        project.get("dependencies", []),
        document.get("build-system", {}).get("requires", []),
        *project.get("optional-dependencies", {}).values(),
        *document.get("dependency-groups", {}).values(),
    ]
    return {normalized(requirement) for group in groups for requirement in group}


def locked(requirements: str) -> set[str]:
    """Return the names that the text of `requirements.txt` pins."""
    return {normalized(line) for line in requirements.splitlines() if "==" in line and not line.startswith((" ", "#"))}


def allowed(text: str) -> dict[str, str]:
    """Return name -> project address from the text of `dependencies.toml`."""
    groups = tomllib.loads(text)
    return {name: url for group in groups.keys() - {"indirect"} for name, url in groups[group].items()}


def indirect(text: str) -> dict[str, str]:
    """Return the packages that others require, and whose similar name a person has checked: name -> project address."""
    return dict(tomllib.loads(text).get("indirect", {}))


def look_alikes(names: Iterable[str], known: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs (name, known name) that are easily confused, for names that are not themselves known.

    Two names are easily confused when one edit (insert, delete, replace, swap letters) makes them equal, or when
    they differ only in hyphens, a `python`/`py` prefix or suffix, or a digit at the end.
    """
    known = set(known)
    return sorted((name, other) for name in set(names) - known for other in known if _confusable(name, other))


def problems(
    required: set[str],
    pinned: set[str],
    listed: Mapping[str, str],
    addresses: Mapping[str, set[str]],
    similar: Mapping[str, str] | None = None,
) -> list[str]:
    """Return one sentence for each violation of the rules.

    *required* are direct dependencies, *pinned* everything that is installed, *listed* the allow-list; *addresses* has
    the addresses that each installed package names in its metadata. *similar* are indirect ones that were checked.
    """
    known = {**listed, **(similar or {})}
    return [
        *(f"{name} is required and not in tools/dependencies.toml" for name in sorted(required - listed.keys())),
        *(f"{name} is in tools/dependencies.toml and not required" for name in sorted(listed.keys() - required)),
        *(
            f"{name} says that its project is {sorted(addresses[name])}, tools/dependencies.toml says {known[name]}"
            for name in sorted(known.keys() & addresses.keys())
            if known[name] not in addresses[name]
        ),
        *(
            f"{name} looks like {other}: check both names"
            for name, other in look_alikes((pinned | required) - known.keys(), listed)
        ),
    ]


def _confusable(name: str, other: str) -> bool:
    return _bare(name) == _bare(other) or (min(len(name), len(other)) > 3 and _one_edit(name, other))


def _bare(name: str) -> str:
    return _AFFIX.sub("", name).replace("-", "")


def _one_edit(a: str, b: str) -> bool:
    """Whether one insertion, deletion, replacement or swap of adjacent letters turns *a* into *b*."""
    if len(a) > len(b):
        a, b = b, a
    start = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) < len(b):
        return a[start:] == b[start + 1 :]
    swapped = a[start : start + 2] == b[start : start + 2][::-1] and a[start + 2 :] == b[start + 2 :]
    return swapped or a[start + 1 :] == b[start + 1 :]
