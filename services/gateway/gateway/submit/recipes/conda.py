"""Conda environments: the environment file that micromamba or pixi reads.

The YAML equals PyYAML's output byte for byte, because container ids depend on it.
Source: conda's documentation, "Creating an environment file manually",
https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html
"""

import re
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

import yaml
from msgspec import Struct

from gateway.submit.members import member_errors
from swell.errors import BadRequest

_EXPLICIT = re.compile(r"^@EXPLICIT\s*$", re.MULTILINE)
_AROUND_OPERATORS = re.compile(r" ?([<>=!~,@]+) ?")
_WEB_SCHEMES = ("http://", "https://")
_MAX_DEPTH = 100  # nested brackets; the parser's time grows with their square

# The errors of PyYAML for a value that does not match its tag.
_YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError)


class Environment(Struct, frozen=True, kw_only=True):
    """The environment file `text`, or the lock file at `url` with packages of `channels`.

    `text` is YAML or an explicit list of package URLs; micromamba distinguishes them by the file's extension.
    """

    text: str | None = None
    url: str | None = None
    channels: tuple[str, ...] = ()

    @property
    def is_explicit(self) -> bool:
        return bool(self.text and _EXPLICIT.search(self.text))


class CondaImage(Struct, frozen=True, kw_only=True):
    """The parameters of a template for Conda packages.

    - `tool_image` has micromamba or pixi; the environment is copied into `base_image`.
    - `base_packages` are added to the environment.
    - `commands` are lines in the language of the recipe.
    """

    environment: Environment
    tool_image: str
    base_image: str
    base_packages: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def from_entries(entries: Iterable[str], channels: tuple[str, ...]) -> Environment:
    """Return the environment of *entries*: `channel::name=version`, `pip:name`, or the URL of one lock file.

    Raises:
        BadRequest: a URL is not the only entry, or a pip package is not `pip:NAME`.
    """
    specs = [spec for entry in entries for spec in map(_unquoted, _specs(entry)) if spec]
    if any(spec.startswith(_WEB_SCHEMES) for spec in specs):
        if len(specs) > 1:
            raise BadRequest("packages.entries has the URL of a lock file; it must be the only entry")
        return Environment(url=specs[0], channels=channels)
    return Environment(text=_dump(_fields(specs, channels)))


def from_file(text: str, channels: tuple[str, ...], *, member: str = "packages.environment") -> Environment:
    """Return the environment in *text*, a request's *member*, with *channels* after its own.

    An explicit list stays unchanged.

    Raises:
        BadRequest: it is neither an explicit list nor the YAML of an environment.
    """
    environment = Environment(text=text)
    if environment.is_explicit:
        return environment
    with member_errors(member):
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
    """Split *entry* at blanks, except around an operator."""
    return _AROUND_OPERATORS.sub(r"\1", " ".join(entry.split())).split(" ")


def _unquoted(spec: str) -> str:
    """Remove all pairs of single quotes around *spec*, then all pairs of double quotes."""
    for quote in "'\"":
        before, after = len(spec) - len(spec.lstrip(quote)), len(spec) - len(spec.rstrip(quote))
        pairs = min(before, after, len(spec) // 2)
        spec = spec[pairs : len(spec) - pairs]
    return spec


def _with_channels(fields: Mapping[str, Any], channels: tuple[str, ...]) -> Mapping[str, Any]:
    known = fields.get("channels") or []
    if not isinstance(known, list):
        raise BadRequest("channels is not a list")
    more = [channel for channel in channels if channel not in known]
    return {**fields, "channels": [*known, *more]} if more else fields


class _Loader(yaml.SafeLoader):
    """A loader without merge keys: each one could double the size of the document."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave the key `<<` unchanged; constructing it then fails."""


def load(text: str) -> Mapping[str, Any]:
    """Return the fields of an environment in YAML.

    Raises:
        BadRequest: *text* is not the YAML of an environment.
    """
    if max(accumulate((letter in "[{") - (letter in "]}") for letter in text), default=0) > _MAX_DEPTH:
        raise BadRequest("it is nested too deeply")
    try:
        fields = yaml.load(text, Loader=_Loader)  # noqa: S506  (derived from the safe loader)
    except yaml.MarkedYAMLError as error:
        raise BadRequest(f"it is not YAML: {error.problem}{_line(error)}") from error
    except _YAML_ERRORS as error:
        raise BadRequest("it cannot be parsed as YAML") from error
    if not isinstance(fields, dict):
        raise BadRequest("it must be a Conda environment in YAML, or an explicit list (@EXPLICIT)")
    return fields


def _line(error: yaml.MarkedYAMLError) -> str:
    return f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""


def _dump(fields: Mapping[str, object]) -> str:
    try:
        return yaml.safe_dump(fields, default_flow_style=False, sort_keys=False)
    except RecursionError as error:
        raise BadRequest("it is nested too deeply") from error
    except ValueError as error:  # a number of YAML 1.1 can be longer than Python can format
        raise BadRequest("it has a number that is too long") from error
