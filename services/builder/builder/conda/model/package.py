"""Conda packages: the metadata of an archive, and the path of each of its files below the prefix.

Source: "Conda package specification", https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html:
`info/index.json`, `info/paths.json`, `info/link.json`; before those two, `info/files` and `info/has_prefix`.
"""

import io
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Struct, field

from builder.conda.model.prefix import PREFIX, FileMode
from swell.json_size import has_more_values

DESCRIPTIONS = frozenset(
    f"info/{name}" for name in ("index.json", "paths.json", "link.json", "files", "has_prefix", "no_link")
)
MAX_FILES = 300_000  # of a package
_VALUES_OF_FILE = 8  # in info/paths.json
_MAX_INDEX = 1 << 20  # bytes
_PLACEHOLDER = "/opt/anaconda1anaconda2anaconda3"  # default of packages that declare none
_ENTRY_POINT = re.compile(r"\s*([\w.+-]+)\s*=\s*([\w.]+)\s*:\s*([\w.]+)\s*(?:\[.*\])?")
_SITE_PACKAGES, _SCRIPTS = "site-packages/", "python-scripts/"

_SCRIPT = """\
#!/{prefix}/bin/python{version}
# -*- coding: utf-8 -*-
import re
import sys

from {module} import {imported}

if __name__ == "__main__":
    sys.argv[0] = re.sub(r"(-script\\.pyw?|\\.exe)?$", "", sys.argv[0])
    sys.exit({function}())
"""


_Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.+!~-]{1,200}\Z")]


class Malformed(ValueError):
    """The archive is not a valid package, or cannot be added to an image; the message says why."""


class PackagePath(Struct, frozen=True):
    """A path in the archive. A `prefix_placeholder` in it is replaced by the image's prefix."""

    path: str = field(name="_path")
    path_type: Literal["hardlink", "softlink", "directory"] = "hardlink"
    sha256: str | None = None
    size_in_bytes: int | None = None
    file_mode: FileMode | None = None
    prefix_placeholder: str | None = None


class Python(Struct, frozen=True):
    """The Python of an environment: `version` such as 3.12; `site_packages` is relative to the prefix."""

    version: str
    site_packages: str


class Link(Struct, frozen=True):
    """A path below the prefix, from *source* in the archive, or with *content*, a generated program."""

    target: str
    source: PackagePath | None = None
    content: bytes = b""


class Package(Struct, frozen=True, kw_only=True):
    """The metadata of an archive; `index` is its `info/index.json`, unchanged."""

    name: str
    version: str
    build: str
    index: Mapping[str, Any]
    paths: tuple[PackagePath, ...]
    entry_points: tuple[str, ...] = ()

    @property
    def record(self) -> str:
        """The name of its archive, and of its record in `conda-meta`."""
        return f"{self.name}-{self.version}-{self.build}"

    @property
    def license(self) -> str:
        """The licence in the metadata, in one line of at most 200 characters; empty if it has none."""
        text = self.index.get("license")
        return " ".join(text.split())[:200] if isinstance(text, str) else ""

    @property
    def is_noarch_python(self) -> bool:
        return self.index.get("noarch") == "python"

    @property
    def runs_at_install(self) -> bool:
        """Whether it has a script that must run at installation."""
        scripts = {f"bin/.{self.name}-{when}-link.sh" for when in ("pre", "post")}
        return any(path.path in scripts for path in self.paths)

    @property
    def python(self) -> Python | None:
        """The Python that this package provides; None if it is another package."""
        if self.name != "python":
            return None
        version = ".".join(self.version.split(".")[:2])
        own = self.index.get("python_site_packages_path")
        return Python(version, own if isinstance(own, str) else f"lib/python{version}/site-packages")

    def links(self, python: Python | None) -> list[Link]:
        """Return the path of each file; noarch packages go into *python*, the environment's Python.

        Raises:
            Malformed: a path leads out of the prefix, or an entry point is none, or *python* is missing.
        """
        if not self.is_noarch_python:
            return [Link(_inside(path.path), path) for path in self.paths]
        if python is None:
            raise Malformed(f"{self.record} is for Python, and the environment has none")
        found = [Link(_inside(_in_python(path.path, python)), path) for path in self.paths]
        return [*found, *(_program(entry, python) for entry in self.entry_points)]


def read_package(info: Mapping[str, bytes]) -> Package:
    """Parse a package's metadata: *info* has those files of `DESCRIPTIONS` that its archive contains.

    Raises:
        Malformed: they are missing, make no sense, or list more than 300,000 files.
    """
    _check_sizes(info)
    try:
        index = _INDEX.decode(info["info/index.json"])
        paths = _paths(info)
        link = _LINK.decode(info.get("info/link.json", b"{}"))
        return Package(
            name=index.name,
            version=index.version,
            build=index.build,
            index=msgspec.json.decode(info["info/index.json"]),
            paths=paths,
            entry_points=(link.noarch.entry_points if link.noarch else None) or (),
        )
    except KeyError as error:
        raise Malformed(f"the archive has no {error.args[0]}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Malformed(f"the archive's metadata is invalid: {error}") from error


def _check_sizes(info: Mapping[str, bytes]) -> None:
    """Check how many objects the metadata becomes; an archive of a megabyte could need gigabytes."""
    if len(info.get("info/index.json", b"")) > _MAX_INDEX:
        raise Malformed(f"info/index.json has more than {_MAX_INDEX} bytes")
    if has_more_values(info.get("info/paths.json", b""), _VALUES_OF_FILE * MAX_FILES):
        raise Malformed(f"the archive lists more than {MAX_FILES} files")


def _lines(content: bytes) -> Iterator[str]:
    """The lines of *content* that are not empty; raises `Malformed` for more than 300,000."""
    for number, line in enumerate(io.StringIO(content.decode())):
        if number >= MAX_FILES:
            raise Malformed(f"the archive lists more than {MAX_FILES} files")
        if text := line.rstrip("\r\n"):
            yield text


class _Index(Struct):
    name: _Word
    version: _Word
    build: _Word


class _PathsJson(Struct):
    paths: tuple[PackagePath, ...]


class _Noarch(Struct):
    entry_points: tuple[str, ...] | None = None


class _LinkJson(Struct):
    noarch: _Noarch | None = None


_INDEX = msgspec.json.Decoder(_Index)  # created at import: threads read several archives at once
_PATHS = msgspec.json.Decoder(_PathsJson)
_LINK = msgspec.json.Decoder(_LinkJson)


def _paths(info: Mapping[str, bytes]) -> tuple[PackagePath, ...]:
    if described := info.get("info/paths.json"):
        return _PATHS.decode(described).paths
    prefixes = dict(map(_has_prefix, _lines(info.get("info/has_prefix", b""))))
    return tuple(PackagePath(name, **prefixes.get(name, {})) for name in _lines(info["info/files"]))


def _has_prefix(line: str) -> tuple[str, dict[str, Any]]:
    """Parse a line: `path`, or `placeholder mode path`; each part may be quoted."""
    match shlex.split(line):
        case [path]:
            return path, {"prefix_placeholder": _PLACEHOLDER, "file_mode": "text"}
        case [placeholder, ("text" | "binary") as mode, path]:
            return path, {"prefix_placeholder": placeholder, "file_mode": mode}
    raise Malformed(f"info/has_prefix has the line {line[:200]!r}")


def _in_python(path: str, python: Python) -> str:
    if path.startswith(_SITE_PACKAGES):
        return f"{python.site_packages}/{path.removeprefix(_SITE_PACKAGES)}"
    if path.startswith(_SCRIPTS):
        return f"bin/{path.removeprefix(_SCRIPTS)}"
    return path


def _inside(path: str) -> str:
    parts = path.split("/")
    if "\0" in path or any(part in {"", ".", ".."} for part in parts):
        raise Malformed(f"the path {path[:200]!r} is not a path below a prefix")
    return path


def _program(entry: str, python: Python) -> Link:
    found = _ENTRY_POINT.fullmatch(entry)
    if not found:
        raise Malformed(f"{entry[:200]!r} is not an entry point")
    name, module, function = found.groups()
    imported = function.partition(".")[0]
    text = _SCRIPT.format(prefix=PREFIX, version=python.version, module=module, imported=imported, function=function)
    return Link(_inside(f"bin/{name}"), content=text.encode())


def environment_python(packages: Iterable[Package]) -> Python | None:
    """Return the environment's Python, which noarch packages use; None if it has none."""
    return next((package.python for package in packages if package.python), None)
