"""Naming: how a built image is called, so that people see what is in it and Wave's clients find what they expect.

A name ends in the container id. Before it, a Conda environment may put its tools: `samtools-1.17--<id>` as the tag, or
`/samtools` behind the repository.
"""

import re
from collections.abc import Iterable, Iterator

import msgspec
import yaml
from msgspec import Struct

from gateway.domain.repositories import ORAS, is_within
from swell.api.containers import NameStrategy
from swell.errors import BadRequest
from swell.oci.reference import is_repository

_SHOWN_TOOLS = 5
_LONGEST_TAG = 80
_LONGEST_REPOSITORY = 255  # with its registry; no client takes more


class Tool(Struct, frozen=True):
    """What an environment asks for: a package, or the whole environment by its name."""

    name: str
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.name}-{self.version}" if self.version else self.name


class _Pip(Struct, forbid_unknown_fields=True):
    """The only dependency that is no text."""

    pip: list[str]


def effective_strategy(strategy: NameStrategy | None, repository: str, public: str | None) -> NameStrategy:
    """The strategy asked for; by default, the public repository has an image for each tool and others a tag."""
    default = NameStrategy.IMAGE_SUFFIX if is_within(repository, public) else NameStrategy.TAG_PREFIX
    return strategy or default


def build_repository(
    repository: str,
    *,
    strategy: NameStrategy | None,
    public: str | None,
    reserved: frozenset[str] = frozenset(),
) -> str:
    """Where to push what is to be built in *repository*; below *public*, the host of a community registry, there are
    places kept for us.

    Raises:
        BadRequest: a client chose a place that is kept for us.
    """
    if not is_within(repository, public):
        return repository
    path = repository.split("/")[1:]
    if taken := reserved.intersection(path):
        raise BadRequest(f"The build repository {repository} uses a reserved word: {', '.join(sorted(taken))}")
    if path:
        return repository
    by_suffix = effective_strategy(strategy, repository, public) is NameStrategy.IMAGE_SUFFIX
    return f"{repository}/library" if by_suffix else f"{repository}/library/build"


def image_name(
    repository: str,
    container_id: str,
    *,
    strategy: NameStrategy | None,
    sif: bool,
    tools: tuple[Tool, ...],
) -> str:
    """The image that *container_id* is built into; `oras://` before it when it is a SIF file.

    *repository* is as `build_repository` made it, *strategy* as `effective_strategy`.
    """
    scheme = ORAS if sif else ""
    if strategy is NameStrategy.NONE:
        return f"{scheme}{repository}:{container_id}"
    if strategy is NameStrategy.IMAGE_SUFFIX:
        return f"{scheme}{_with_suffix(repository, container_id, tools)}"
    label = _tag(_joined(map(str, tools)))
    return f"{scheme}{repository}:{_labelled(label, container_id)}"


def tools_of(environment: str) -> tuple[Tool, ...]:
    """What the text of a `conda.yml` names: its `name`, else its dependencies, those of pip among them.

    One that we cannot read gives no tools and no error: to build it is to find out.
    """
    try:
        # The base loader makes nothing but text, lists and maps. The C loaders overflow their stack on nested lists.
        fields = yaml.load(environment, Loader=yaml.BaseLoader)  # noqa: S506
        return _tools(fields)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return ()


def _tools(fields: object) -> tuple[Tool, ...]:
    match fields:
        case {"name": str(name)} if name:
            return (Tool(name),)
        case {"dependencies": list(dependencies)}:
            return tuple(_dependencies(dependencies))
    return ()


def _dependencies(dependencies: list[object]) -> Iterator[Tool]:
    for dependency in msgspec.convert(dependencies, list[str | _Pip]):
        specs = [dependency] if isinstance(dependency, str) else dependency.pip
        yield from filter(None, map(_tool, specs))


def _tool(spec: str) -> Tool | None:
    """What `channel::name=version=build`, `name>=version` or `pip:name` asks for; nothing for a URL."""
    spec = spec.removeprefix("pip:")
    if spec.startswith(("http://", "https://")):
        return None
    parts = [part.strip() for part in re.split("[=<>]", re.sub("^.*?::", "", spec))]
    return Tool(*[part for part in parts if part][:2]) if any(parts) else None


def _with_suffix(repository: str, container_id: str, tools: tuple[Tool, ...]) -> str:
    suffix = _suffix(_joined(tool.name for tool in tools), longest=_LONGEST_REPOSITORY - len(f"{repository}/"))
    if not is_repository(suffix):
        return f"{repository}:{container_id}"
    versions = {tool.version for tool in tools}
    common = versions.pop() if len(versions) == 1 else None
    return f"{repository}/{suffix}:{_labelled(_tag(common or ''), container_id)}"


def _labelled(label: str, container_id: str) -> str:
    return f"{label}--{container_id}" if label else container_id


def _joined(names: Iterable[str]) -> str:
    """The distinct *names*, the first four where there are more than five."""
    distinct = list(dict.fromkeys(names))
    shown = distinct if len(distinct) <= _SHOWN_TOOLS else [*distinct[: _SHOWN_TOOLS - 1], "pruned"]
    return "_".join(shown)


def _tag(text: str) -> str:
    return _trimmed(re.sub(r"[^a-zA-Z0-9_.-]", "", text), _LONGEST_TAG)


def _suffix(text: str, longest: int) -> str:
    return _trimmed(re.sub(r"[^a-z0-9_./-]", "", text.lower()), max(longest, 0))


def _trimmed(text: str, longest: int) -> str:
    """Up to *longest* characters that begin and end with a letter or a digit."""
    return re.sub(r"^[\W_]+|[\W_]+\Z", "", text[:longest])
