"""SBOMs in syft's JSON: count packages, and name Conda packages by package URLs, which syft does not.

Source: syft, "JSON schema", https://github.com/anchore/syft/tree/main/schema/json
Source: purl-spec, "conda", https://github.com/package-url/purl-spec/blob/main/types-doc/conda-definition.md
"""

import re
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Raw, Struct

from scanner.domain.failure import ScanFailure
from swell.store.scans import ScanProblem

_TOKEN = re.compile(r"(^|/)t/[^/]+/")
_CONDA = b'"conda-metadata-entry"'
_SUBDIRECTORIES = ("linux-", "osx-", "win-", "noarch", "emscripten-", "wasi-", "zos-", "freebsd-")


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


def conda_url(name: str, version: str, metadata: dict[str, Any]) -> str:
    """Return the package URL of a Conda package, from the *metadata* of its record in `conda-meta`."""
    channel = str(metadata.get("channel") or "")
    file = str(metadata.get("fn") or "")
    qualifiers = {
        "build": str(metadata.get("build") or ""),
        "channel": _channel_name(channel),
        "subdir": str(metadata.get("subdir") or _subdirectory(channel)),
        "type": "conda" if file.endswith(".conda") else "tar.bz2" if file.endswith(".tar.bz2") else "",
    }
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in qualifiers.items() if value)
    return f"pkg:conda/{quote(name.lower(), safe='')}@{quote(version, safe='')}{'?' if query else ''}{query}"


def _named(artifact: Raw) -> Raw:
    fields = msgspec.json.decode(artifact)
    metadata = fields.get("metadata")
    if fields.get("purl") or not isinstance(metadata, dict):
        return artifact
    url = conda_url(str(fields.get("name", "")), str(fields.get("version", "")), metadata)
    return Raw(msgspec.json.encode(fields | {"purl": url}))


def _channel_name(channel: str) -> str:
    """The name of a channel: the path of its URL, without the platform and without a token (`/t/<token>/`)."""
    path = _TOKEN.sub("/", urlsplit(channel).path if "://" in channel else channel)
    parts = [part for part in path.split("/") if part]
    return "/".join(part for part in parts if not part.startswith(_SUBDIRECTORIES))


def _subdirectory(channel: str) -> str:
    last = channel.rstrip("/").rpartition("/")[2]
    return last if last.startswith(_SUBDIRECTORIES) else ""


def _unreadable(error: Exception) -> ScanFailure:
    return ScanFailure(ScanProblem.TOOL, f"The program that lists packages wrote an SBOM that cannot be read: {error}.")
