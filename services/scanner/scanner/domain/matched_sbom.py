"""The part of an SBOM of syft that grype reads: packages without the lists of their files.

These lists are nine tenths of the SBOM of a Debian image, and half of the time of a match.
Source: grype 0.121, https://github.com/anchore/grype/blob/v0.121.0/grype/pkg/package.go: it removes a package that
another one owns. It compares the files of the owner with the locations of the package, so those files stay here.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from scanner.domain.failure import ScanFailure
from swell.store.scans import ScanProblem

_WITH_FILES = frozenset({"conda-metadata-entry", "dpkg-db-entry", "python-package", "rpm-db-entry"})


class _Location(Struct):
    path: str = ""


class _Artifact(Struct, rename="camel"):
    id: str
    metadata_type: str = ""
    locations: tuple[_Location, ...] | None = None


class _Relationship(Struct):
    parent: str
    child: str


def without_files(sbom: bytes) -> bytes:
    """Return *sbom* as grype needs it; its findings are the same.

    Raises:
        ScanFailure: it cannot be read.
    """
    try:
        document = msgspec.json.decode(sbom, type=dict[str, Raw])
        raw = msgspec.json.decode(document["artifacts"], type=list[Raw])
        artifacts = [msgspec.json.decode(each, type=_Artifact) for each in raw]
        ids = {artifact.id for artifact in artifacts}
        locations = {location.path for artifact in artifacts for location in artifact.locations or ()}
        parts = {
            "artifacts": [
                _with_located_files(each, locations) if artifact.metadata_type in _WITH_FILES else each
                for each, artifact in zip(raw, artifacts, strict=True)
            ],
            "artifactRelationships": list(_between(document.get("artifactRelationships"), ids)),
        }
        document.pop("files", None)
        return msgspec.json.encode(document | {name: Raw(msgspec.json.encode(part)) for name, part in parts.items()})
    except (msgspec.MsgspecError, RecursionError, KeyError) as error:
        message = f"The program that lists packages wrote an SBOM that cannot be read: {error}."
        raise ScanFailure(ScanProblem.TOOL, message) from error


def _with_located_files(raw: Raw, locations: set[str]) -> Raw:
    """The package with only those of its files that are the location of a package."""
    artifact: dict[str, Any] = msgspec.json.decode(raw)
    metadata = artifact.get("metadata")
    if not isinstance(metadata, dict):
        return raw
    metadata.pop("paths_data", None)
    if isinstance(files := metadata.get("files"), list):
        metadata["files"] = [file for file in files if _path(file) in locations]
    return Raw(msgspec.json.encode(artifact))


def _path(file: object) -> object:
    path = file.get("path") if isinstance(file, dict) else file
    return path if isinstance(path, str) else None


def _between(relationships: Raw | None, ids: set[str]) -> Iterator[Raw]:
    """The relationships between two packages; others are about files, or about the image."""
    for raw in msgspec.json.decode(relationships, type=list[Raw]) if relationships else ():
        relationship = msgspec.json.decode(raw, type=_Relationship)
        if relationship.parent in ids and relationship.child in ids:
            yield raw
