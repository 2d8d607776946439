"""What BuildKit reports of a build: its provenance predicate, or else the base images in its progress."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from swell.errors import BadRequest
from swell.oci.reference import parse_reference
from swell.provenance import MAX_MATERIALS, Evidence, Material

_IMAGE = "pkg:docker/"
_FROM = re.compile(r"^\[[^\[\]]*\] FROM (?P<image>\S+?)@(?P<digest>sha256:[0-9a-f]{64})$")
"""The name of a step that reads a base image. The brackets are BuildKit's: those in the text of a RUN do not count."""
_OURS = re.compile(
    r"build-arg:(BUILDKIT_CACHE_MOUNT_NS|\w+_proxy)|local-sessionid:.*|cmdline|proxy_?env|sysUsage", re.IGNORECASE
)
"""Options of the builder itself: random names, and proxies with their passwords. And the load of the machine."""


def evidence_of(predicate: dict[str, Any] | None, steps: Iterable[str]) -> Evidence:
    """Return the evidence in *predicate*; without one, that in *steps*, the names of the steps.

    Source: SLSA, "Provenance", https://slsa.dev/spec/v1.0/provenance
    Source: BuildKit, "SLSA definitions",
    https://github.com/moby/buildkit/blob/v0.34.2/docs/attestations/slsa-definitions.md
    """
    if predicate is None:
        images = (found for step in steps if (found := _FROM.match(step)))
        materials = {Material(found["image"], found["digest"]): None for found in images}
        return Evidence(materials=tuple(materials)[:MAX_MATERIALS])
    definition = _part(predicate, "buildDefinition")
    dependencies = definition.get("resolvedDependencies")
    materials = dict.fromkeys(_materials(dependencies if isinstance(dependencies, list) else []))
    return Evidence(materials=tuple(materials)[:MAX_MATERIALS], definition=_without_ours(predicate))


def _materials(dependencies: Iterable[Any]) -> Iterator[Material]:
    for each in dependencies:
        uri = each.get("uri") if isinstance(each, dict) else None
        if isinstance(uri, str):
            digests = _part(each, "digest")
            digest = next((f"{name}:{value}" for name, value in digests.items() if isinstance(value, str)), None)
            yield Material(_reference(uri) if uri.startswith(_IMAGE) else uri, digest)


def _reference(uri: str) -> str:
    """Return the reference of a package URL. Source: https://github.com/package-url/purl-spec"""
    name, _, version = unquote(uri.removeprefix(_IMAGE).partition("?")[0]).partition("@")
    text = f"{name}:{version}" if version else name
    try:
        return str(parse_reference(text))
    except BadRequest:
        return text


def _without_ours(value: Any) -> Any:
    """Return *value* without what is no fact of the build, at any depth: our options, and the load of the machine."""
    match value:
        case dict():
            return {name: _without_ours(part) for name, part in value.items() if not _OURS.fullmatch(name)}
        case list():
            return [_without_ours(part) for part in value]
    return value


def _part(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = fields.get(name)
    return part if isinstance(part, dict) else {}
