"""Names of built images. A tag ends in the container id; a Conda environment adds its tools.

By the strategy `tagPrefix` the tag is `samtools-1.17--<id>`; by `imageSuffix` the repository ends in `/samtools`.
Source: Wave's public API, "nameStrategy", https://docs.seqera.io/wave/api
"""

import re
from collections.abc import Iterable, Iterator

import msgspec
import yaml
from msgspec import Struct

from swell.api.containers import NameStrategy
from swell.conda.nesting import is_nested_too_deeply
from swell.errors import BadRequest
from swell.oci.reference import is_repository

ORAS = "oras://"
"""Prefix of the name of a SIF file, which container runtimes cannot run."""

_SHOWN_TOOLS = 5
_NO_NAMES = {"", "~", "null", "Null", "NULL"}  # the empty values of YAML
_LONGEST_TAG = 80
_LONGEST_REPOSITORY = 255  # characters with its registry; the limit of clients


class Tool(Struct, frozen=True):
    """A package of an environment, or the name of the whole environment."""

    name: str
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.name}-{self.version}" if self.version else self.name


class _Pip(Struct, forbid_unknown_fields=True):
    """The only dependency that is not a string."""

    pip: list[str]


def is_within(repository: str, parent: str | None) -> bool:
    """Whether *repository* is *parent*, or a path below it."""
    return bool(parent) and f"{repository}/".startswith(f"{parent}/")


def effective_strategy(strategy: NameStrategy | None, repository: str, public: str | None) -> NameStrategy:
    """The requested strategy; the default is `imageSuffix` in the public repository, else `tagPrefix`."""
    default = NameStrategy.IMAGE_SUFFIX if is_within(repository, public) else NameStrategy.TAG_PREFIX
    return strategy or default


def build_repository(
    repository: str,
    *,
    strategy: NameStrategy | None,
    public: str | None,
    reserved: frozenset[str] = frozenset(),
) -> str:
    """Return the repository to push to; a path is added to *public*, the host of the community registry.

    Raises:
        BadRequest: the path of a client's *repository* has a word that is *reserved* for the server.
    """
    if not is_within(repository, public):
        return repository
    path = repository.split("/")[1:]
    if used := reserved.intersection(path):
        raise BadRequest(f"The build repository {repository} uses a reserved word: {', '.join(sorted(used))}")
    if path:
        return repository
    by_suffix = effective_strategy(strategy, repository, public) is NameStrategy.IMAGE_SUFFIX
    return f"{repository}/library" if by_suffix else f"{repository}/library/build"


def target_name(
    repository: str,
    container_id: str,
    *,
    strategy: NameStrategy | None,
    sif: bool,
    tools: tuple[Tool, ...],
) -> str:
    """The name of the image of *container_id*; a SIF file has the prefix `oras://`.

    *repository* is the result of `build_repository`, *strategy* the result of `effective_strategy`.
    """
    scheme = ORAS if sif else ""
    if strategy is NameStrategy.NONE:
        return f"{scheme}{repository}:{container_id}"
    if strategy is NameStrategy.IMAGE_SUFFIX:
        return f"{scheme}{_with_suffix(repository, container_id, tools)}"
    label = _tag(_join(map(str, tools)))
    return f"{scheme}{repository}:{_with_label(label, container_id)}"


def tools_of(environment: str) -> tuple[Tool, ...]:
    """The `name` of a `conda.yml`, else its dependencies with those of pip; empty if it cannot be parsed.

    An unreadable file is no error here: the build reports it.
    """
    if is_nested_too_deeply(environment):
        return ()
    try:
        # The base loader creates only strings, lists and maps. The C loaders overflow the stack on nested lists.
        fields = yaml.load(environment, Loader=yaml.BaseLoader)  # noqa: S506
        return _tools(fields)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return ()


def _tools(fields: object) -> tuple[Tool, ...]:
    match fields:
        case {"name": str(name)} if name not in _NO_NAMES:
            return (Tool(name),)
        case {"dependencies": list(dependencies)}:
            return tuple(_dependencies(dependencies))
    return ()


def _dependencies(dependencies: list[object]) -> Iterator[Tool]:
    for dependency in msgspec.convert(dependencies, list[str | _Pip]):
        specs = [dependency] if isinstance(dependency, str) else dependency.pip
        yield from filter(None, map(_tool, specs))


def _tool(spec: str) -> Tool | None:
    """Parse `channel::name=version=build`, `name>=version` or `pip:name`; None for a URL."""
    spec = spec.removeprefix("pip:")
    if spec.startswith(("http://", "https://")):
        return None
    parts = [part.strip() for part in re.split("[=<>]", re.sub("^.*?::", "", spec))]
    return Tool(*[part for part in parts if part][:2]) if any(parts) else None


def _with_suffix(repository: str, container_id: str, tools: tuple[Tool, ...]) -> str:
    suffix = _suffix(_join(tool.name for tool in tools), longest=_LONGEST_REPOSITORY - len(f"{repository}/"))
    if not is_repository(suffix):
        return f"{repository}:{container_id}"
    versions = {tool.version for tool in tools}
    common = versions.pop() if len(versions) == 1 else None
    return f"{repository}/{suffix}:{_with_label(_tag(common or ''), container_id)}"


def _with_label(label: str, container_id: str) -> str:
    return f"{label}--{container_id}" if label else container_id


def _join(names: Iterable[str]) -> str:
    """The distinct *names*; only the first four if there are more than five."""
    distinct = list(dict.fromkeys(names))
    shown = distinct if len(distinct) <= _SHOWN_TOOLS else [*distinct[: _SHOWN_TOOLS - 1], "pruned"]
    return "_".join(shown)


def _tag(text: str) -> str:
    return _trim(re.sub(r"[^a-zA-Z0-9_.-]", "", text), _LONGEST_TAG)


def _suffix(text: str, longest: int) -> str:
    return _trim(re.sub(r"[^a-z0-9_./-]", "", text.lower()), max(longest, 0))


def _trim(text: str, longest: int) -> str:
    """At most *longest* characters of *text* that begin and end with a letter or a digit."""
    return re.sub(r"^[\W_]+|[\W_]+\Z", "", text[:longest])
