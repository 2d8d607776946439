"""Conda environments: the environment file that micromamba or pixi reads.

The YAML equals PyYAML's output byte for byte, because container ids depend on it.
Source: conda's documentation, "Creating an environment file manually",
https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml
from msgspec import Struct

from swell.conda.match_specs import is_package_url, parse_spec
from swell.errors import BadRequest
from swell.recipes.environment_file import read_environment, read_yaml
from swell.recipes.members import member_errors
from swell.recipes.pip_requirements import check_requirement

_EXPLICIT = re.compile(r"^@EXPLICIT\s*$", re.MULTILINE)
_AROUND_OPERATORS = re.compile(r" ?([<>=!~,@|]+) ?")
_WEB_SCHEMES = ("http://", "https://")
_URL = re.compile(r"[a-z]+://")
_PIP = "pip:"

DEFAULTS = "defaults"
"""The name that stands for Anaconda's channels in conda's configuration."""


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


def from_entries(
    entries: Iterable[str], channels: tuple[str, ...], *, defaults: tuple[str, ...] | None = None
) -> Environment:
    """Return the environment of *entries*: match specifications, `pip:` requirements, or the URL of one lock file.

    *defaults* are the channels that `defaults` stands for; None leaves them to the tool.

    Raises:
        BadRequest: an entry is neither a package nor a requirement, or a lock file is not the only entry.
    """
    with member_errors("packages.entries"):
        specs = [spec for entry in entries for spec in _specs(entry) if spec]
        if not specs:
            raise BadRequest("it has no packages")
        if any(map(_is_lock_file, specs)):
            if len(specs) > 1:
                raise BadRequest("the URL of a lock file must be the only entry")
            return Environment(url=specs[0], channels=tuple(_expanded(channels, defaults)))
        fields = _fields(specs, channels)
    return _environment(fields, defaults)


def from_file(text: str, channels: tuple[str, ...], *, defaults: tuple[str, ...] | None = None) -> Environment:
    """Return the environment in *text*, the member `packages.environment`, with *channels* after its own.

    An explicit list stays unchanged. *defaults* is as for `from_entries`.

    Raises:
        BadRequest: it is neither an explicit list nor an environment file with packages; the message has the line.
    """
    environment = Environment(text=text)
    with member_errors("packages.environment"):
        if environment.is_explicit:
            _check_explicit(text)
            return environment
        return _environment(_with_channels(read_environment(text), channels), defaults)


def check_file(text: str, member: str) -> None:
    """Check that *text*, a request's *member*, can be parsed within bounded time; a container file uses it as it is.

    Raises:
        BadRequest: it is neither an explicit list nor YAML.
    """
    if not Environment(text=text).is_explicit:
        with member_errors(member):
            read_yaml(text)


def _environment(fields: Mapping[str, Any], defaults: tuple[str, ...] | None) -> Environment:
    if defaults is not None:
        for spec in fields["dependencies"]:
            if isinstance(spec, str) and parse_spec(spec).channel == DEFAULTS:
                raise BadRequest(f"{spec!r}: name the channel itself; '{DEFAULTS}' stands for several channels")
        if DEFAULTS in (fields.get("channels") or ()):
            fields = {**fields, "channels": _expanded(fields["channels"], defaults)}
    return Environment(text=_dump(fields))


def _expanded(channels: Sequence[str], defaults: tuple[str, ...] | None) -> list[str]:
    """Return *channels* with those that `defaults` stands for in its place.

    Raises:
        BadRequest: this server has no default channels.
    """
    if DEFAULTS not in channels or defaults is None:
        return list(channels)
    if not defaults:
        raise BadRequest(
            f"the channel '{DEFAULTS}' stands for Anaconda's channels, which have their own licence; the operator of "
            "this server has not enabled them (SWELL_CONDA_DEFAULT_CHANNELS). Name another channel, such as conda-forge"
        )
    position = list(channels).index(DEFAULTS)
    return list(dict.fromkeys([*channels[:position], *defaults, *channels[position + 1 :]]))


def _check_explicit(text: str) -> None:
    """Check that every line of an explicit list is a comment, `@EXPLICIT` or a URL, and that a URL exists."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    packages = [(number, line) for number, line in lines if line and not line.startswith(("#", "@EXPLICIT"))]
    for number, line in packages:
        if not _URL.match(line):
            raise BadRequest(f"line {number}: {line[:80]!r} is not the URL of a package, as an explicit list needs it")
    if not packages:
        number = next(number for number, line in lines if line.startswith("@EXPLICIT"))
        raise BadRequest(f"line {number}: the explicit list has no packages; write the URL of each one in a line")


def _fields(specs: list[str], channels: tuple[str, ...]) -> dict[str, object]:
    pip = [_pip_name(spec) for spec in specs if spec.startswith(_PIP)]
    dependencies: list[object] = [spec for spec in specs if not spec.startswith(_PIP)]
    if pip:
        dependencies += ["pip", {"pip": pip}]
    return {**({"channels": list(channels)} if channels else {}), "dependencies": dependencies}


def _pip_name(spec: str) -> str:
    name = spec.removeprefix(_PIP)
    if not name or name.startswith(":"):
        raise BadRequest(f"{spec[:80]!r} names no package; write packages of pip as pip:NAME")
    return check_requirement(name)


def _specs(entry: str) -> list[str]:
    """Split *entry* at blanks, except around an operator, in brackets, and in a `pip:` requirement with a marker.

    Raises:
        BadRequest: a part is not a package.
    """
    text = " ".join(entry.split())
    whole = _unquoted(text)
    if whole.startswith(f"{_PIP}-"):
        return [whole]
    marker = ""
    if whole.startswith(_PIP) and ";" in whole:
        text, _, marker = whole.partition(";")
    specs = [spec for spec in map(_unquoted, _split(_AROUND_OPERATORS.sub(r"\1", text.strip()))) if spec]
    for spec in specs:
        if not (spec.startswith(_PIP) or _is_lock_file(spec)):
            _check_spec(spec, whole)
    return [*specs[:-1], f"{specs[-1]}; {marker.strip()}"] if marker.strip() and specs else specs


def _split(text: str) -> Iterator[str]:
    """Split *text* at blanks outside of brackets."""
    start, depth = 0, 0
    for at, letter in enumerate(text):
        depth = max(depth + (letter == "[") - (letter == "]"), 0)
        if letter == " " and not depth:
            yield text[start:at]
            start = at + 1
    yield text[start:]


def _check_spec(spec: str, entry: str) -> None:
    if spec.startswith("-") and entry.startswith(spec):
        spec = entry  # an option with its argument
    try:
        parse_spec(spec)
    except BadRequest as error:
        where = "" if spec == entry else f" (in the entry {entry[:80]!r})"
        raise BadRequest(f"{error}{where}") from error


def _is_lock_file(spec: str) -> bool:
    """Whether *spec* is the URL of a file that lists packages, and not of a package or of a channel."""
    return spec.startswith(_WEB_SCHEMES) and "::" not in spec and not is_package_url(spec)


def _unquoted(spec: str) -> str:
    """Remove all pairs of single quotes around *spec*, then all pairs of double quotes."""
    for quote in "'\"":
        before, after = len(spec) - len(spec.lstrip(quote)), len(spec) - len(spec.rstrip(quote))
        pairs = min(before, after, len(spec) // 2)
        spec = spec[pairs : len(spec) - pairs]
    return spec


def _with_channels(fields: Mapping[str, Any], channels: tuple[str, ...]) -> Mapping[str, Any]:
    known = fields.get("channels") or []
    more = [channel for channel in channels if channel not in known]
    return {**fields, "channels": [*known, *more]} if more else fields


def _dump(fields: Mapping[str, object]) -> str:
    try:
        return yaml.safe_dump(fields, default_flow_style=False, sort_keys=False)
    except RecursionError as error:
        raise BadRequest("it is nested too deeply") from error
    except ValueError as error:  # a number of YAML 1.1 can be longer than Python can format
        raise BadRequest("it has a number that is too long") from error
