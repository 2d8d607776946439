"""SBOMs in syft's JSON: count packages, and name Conda packages by package URLs, which syft does not.

Source: syft, "JSON schema", https://github.com/anchore/syft/tree/main/schema/json
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from scanner.domain.failure import ScanFailure
from swell.conda.purl import conda_url, without_secrets
from swell.store.scans import ScanProblem

_URL = re.compile(r"https?://[!-~]{1,2000}")
_HEX, _SHA256 = re.compile(r"[0-9a-f]{32}([0-9a-f]{32})?"), re.compile(r"[0-9a-f]{64}")
_CONDA = b'"conda-metadata-entry"'


class _Packages(Struct):
    artifacts: tuple[Raw, ...] = ()


def count_packages(sbom: bytes) -> int:
    """Return the number of packages in an SBOM of syft; raises `ScanFailure` if it cannot be read."""
    try:
        return len(msgspec.json.decode(sbom, type=_Packages).artifacts)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _unreadable(error) from error


def with_conda_urls(sbom: bytes) -> bytes:
    """Return *sbom* with a package URL for each Conda package; all other bytes of packages are unchanged.

    Raises:
        ScanFailure: it cannot be read.
    """
    if _CONDA not in sbom:
        return sbom
    try:
        document = msgspec.json.decode(sbom, type=dict[str, Raw])
        artifacts = msgspec.json.decode(document["artifacts"], type=list[Raw])
        named = [_named(artifact) if _CONDA in bytes(artifact) else artifact for artifact in artifacts]
        return msgspec.json.encode(document | {"artifacts": Raw(msgspec.json.encode(named))})
    except (msgspec.MsgspecError, RecursionError, KeyError) as error:
        raise _unreadable(error) from error


def with_conda_archives(native: bytes, spdx: bytes, cyclonedx: bytes) -> tuple[bytes, bytes]:
    """Return *spdx* and *cyclonedx* with the URL and the digest of each Conda package in *native*, as SBOM of syft.

    syft keeps them for itself. Both are in `conda-meta`, where the solver has written them.

    Raises:
        ScanFailure: one of them cannot be read.
    """
    if _CONDA not in native:
        return spdx, cyclonedx
    try:
        archives = _archives(native)
        return (
            _changed(spdx, "packages", lambda each: _spdx_archive(each, archives)),
            _changed(cyclonedx, "components", lambda each: _cyclonedx_archive(each, archives)),
        )
    except (msgspec.MsgspecError, RecursionError, KeyError) as error:
        raise _unreadable(error) from error


class _CondaArchive(Struct, frozen=True):
    """The archive of a package: its URL without a token, or empty, and its digest."""

    url: str
    algorithm: str
    digest: str


class _CondaArtifact(Struct):
    purl: str = ""
    metadata: Any = None


def _archives(native: bytes) -> dict[str, _CondaArchive]:
    """The archives of the Conda packages in an SBOM of syft, by package URL."""
    archives = {}
    for raw in msgspec.json.decode(native, type=_Packages).artifacts:
        if _CONDA not in bytes(raw):
            continue
        artifact = msgspec.json.decode(raw, type=_CondaArtifact)
        metadata = artifact.metadata if isinstance(artifact.metadata, dict) else {}
        url = without_secrets(str(metadata.get("url") or ""))
        sha256, md5 = (str(metadata.get(name) or "") for name in ("sha256", "md5"))
        algorithm, digest = ("SHA256", sha256) if _SHA256.fullmatch(sha256) else ("MD5", md5)
        archives[artifact.purl] = _CondaArchive(
            url if _URL.fullmatch(url) else "", algorithm, digest if _HEX.fullmatch(digest) else ""
        )
    return archives


def _changed(document: bytes, member: str, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return *document* with *change* made to the entries of *member* that are Conda packages."""
    fields = msgspec.json.decode(document, type=dict[str, Raw])
    entries = msgspec.json.decode(fields[member], type=list[Raw])
    for number, raw in enumerate(entries):
        if b"pkg:conda/" in bytes(raw):
            entry = msgspec.json.decode(raw, type=dict[str, Any])
            change(entry)
            entries[number] = Raw(msgspec.json.encode(entry))
    return msgspec.json.encode(fields | {member: Raw(msgspec.json.encode(entries))})


def _spdx_archive(package: dict[str, Any], archives: Mapping[str, _CondaArchive]) -> None:
    names = [each.get("referenceLocator") for each in package.get("externalRefs") or ()]
    if archive := next((archives[name] for name in names if name in archives), None):
        if archive.digest:
            package["checksums"] = [{"algorithm": archive.algorithm, "checksumValue": archive.digest}]
        if archive.url:
            package["downloadLocation"] = archive.url


def _cyclonedx_archive(component: dict[str, Any], archives: Mapping[str, _CondaArchive]) -> None:
    if archive := archives.get(str(component.get("purl"))):
        if archive.digest:
            algorithm = archive.algorithm.replace("SHA256", "SHA-256")
            component["hashes"] = [{"alg": algorithm, "content": archive.digest}]
        if archive.url:
            component["externalReferences"] = [{"type": "distribution", "url": archive.url}]


def _named(artifact: Raw) -> Raw:
    fields = msgspec.json.decode(artifact)
    metadata = fields.get("metadata")
    if fields.get("purl") or not isinstance(metadata, dict):
        return artifact
    record = {name: str(metadata.get(name) or "") for name in ("build", "channel", "subdir")}
    file = str(metadata.get("fn") or "")
    url = conda_url(str(fields.get("name", "")), str(fields.get("version", "")), **record, file=file)
    return Raw(msgspec.json.encode(fields | {"purl": url}))


def _unreadable(error: Exception) -> ScanFailure:
    return ScanFailure(ScanProblem.TOOL, f"The program that lists packages wrote an SBOM that cannot be read: {error}.")
