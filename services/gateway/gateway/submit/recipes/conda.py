"""Conda environments: what clients ask for, as the one file that micromamba or pixi reads.

Source: Wave's public API; the YAML is PyYAML's, to the byte, because container ids are made from it.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

import yaml
from msgspec import Struct

from gateway.submit.members import naming
from swell.errors import BadRequest

_EXPLICIT = re.compile(r"^@EXPLICIT\s*$", re.MULTILINE)
_AROUND_OPERATORS = re.compile(r" ?([<>=!~,@]+) ?")
_WEB = ("http://", "https://")
_DEEPEST = 100  # brackets within brackets; the time to read them grows with the square

# What PyYAML lets through when a value is not of the type that its tag says.
_UNREADABLE = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError)


class Environment(Struct, frozen=True, kw_only=True):
    """What an environment is made from: the file `text`, or the file at `url` with packages of `channels`.

    `text` is YAML or an explicit list of package addresses, which micromamba tells apart by the file's name.
    """

    text: str | None = None
    url: str | None = None
    channels: tuple[str, ...] = ()

    @property
    def is_explicit(self) -> bool:
        return bool(self.text and _EXPLICIT.search(self.text))


class CondaImage(Struct, frozen=True, kw_only=True):
    """What a template for Conda packages is filled with.

    `tool_image` has micromamba or pixi, `base_image` is what the environment is copied into, `base_packages` come on
    top of it, and `commands` are lines of the container file's own language.
    """

    environment: Environment
    tool_image: str
    base_image: str
    base_packages: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def from_entries(entries: Iterable[str], channels: tuple[str, ...]) -> Environment:
    """The environment of *entries*: `channel::name=version`, `pip:name`, or one address of a lock file.

    Raises:
        BadRequest: an address is not alone, or pip is misspelt.
    """
    specs = [spec for entry in entries for spec in map(_unquoted, _specs(entry)) if spec]
    if any(spec.startswith(_WEB) for spec in specs):
        if len(specs) > 1:
            raise BadRequest("packages.entries has the address of a lock file; then it must be the only entry")
        return Environment(url=specs[0], channels=channels)
    return Environment(text=_dump(_fields(specs, channels)))


def from_file(text: str, channels: tuple[str, ...], *, member: str = "packages.environment") -> Environment:
    """The environment that *text*, a request's *member*, describes, with *channels* behind its own; an explicit list
    needs none.

    Raises:
        BadRequest: it is neither an explicit list nor the YAML of an environment.
    """
    environment = Environment(text=text)
    if environment.is_explicit:
        return environment
    with naming(member):
        return Environment(text=_dump(_with_channels(load(text), channels)))


def _fields(specs: list[str], channels: tuple[str, ...]) -> dict[str, object]:
    pip = [_pip_name(spec) for spec in specs if spec.startswith("pip:")]
    dependencies: list[object] = [spec for spec in specs if not spec.startswith("pip:")]
    if pip:
        dependencies += ["pip", {"pip": pip}]
    return {**({"channels": list(channels)} if channels else {}), "dependencies": dependencies}


def _pip_name(spec: str) -> str:
    name = spec.removeprefix("pip:")
    if not name or name.startswith(":"):
        raise BadRequest(f"packages.entries has {spec[:80]!r}; write packages of pip as pip:NAME")
    return name


def _specs(entry: str) -> list[str]:
    """The packages that blanks part; those around an operator belong to it."""
    return _AROUND_OPERATORS.sub(r"\1", " ".join(entry.split())).split(" ")


def _unquoted(spec: str) -> str:
    """*spec* without the quotes around it, single ones and then double ones, however many."""
    for quote in "'\"":
        before, after = len(spec) - len(spec.lstrip(quote)), len(spec) - len(spec.rstrip(quote))
        pairs = min(before, after, len(spec) // 2)
        spec = spec[pairs : len(spec) - pairs]
    return spec


def _with_channels(fields: Mapping[str, Any], channels: tuple[str, ...]) -> Mapping[str, Any]:
    known = fields.get("channels") or []
    if not isinstance(known, list):
        raise BadRequest("the channels are no list")
    more = [channel for channel in channels if channel not in known]
    return {**fields, "channels": [*known, *more]} if more else fields


class _Loader(yaml.SafeLoader):
    """Knows no merge keys: each could double the document."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave `<<` in place, which nothing can then make a value of."""


def load(text: str) -> Mapping[str, Any]:
    """The fields of an environment's YAML.

    Raises:
        BadRequest: it is none.
    """
    if max(accumulate((letter in "[{") - (letter in "]}") for letter in text), default=0) > _DEEPEST:
        raise BadRequest("it is nested too deeply")
    try:
        fields = yaml.load(text, Loader=_Loader)  # noqa: S506  (a safe one)
    except yaml.MarkedYAMLError as error:
        raise BadRequest(f"it is no YAML: {error.problem}{_place(error)}") from error
    except _UNREADABLE as error:
        raise BadRequest("it cannot be read as YAML") from error
    if not isinstance(fields, dict):
        raise BadRequest("it must be a Conda environment in YAML, or an explicit list (@EXPLICIT)")
    return fields


def _place(error: yaml.MarkedYAMLError) -> str:
    return f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""


def _dump(fields: Mapping[str, object]) -> str:
    try:
        return yaml.safe_dump(fields, default_flow_style=False, sort_keys=False)
    except RecursionError as error:
        raise BadRequest("it is nested too deeply") from error
    except ValueError as error:  # YAML 1.1 has numbers that are longer than Python writes any
        raise BadRequest("it has a number that is too long") from error
