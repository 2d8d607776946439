"""The storage of SBOMs and of reports of scans, in one bucket.

An SBOM belongs to the manifest of one platform's image in one repository, so that every scan of the image uses it. A
report belongs to a scan. All objects are JSON, except logs.
"""

from enum import StrEnum
from hashlib import sha256

from swell.oci.digest import Digest

SBOMS, SCANS = "sboms/", "scans/"
"""Prefixes of SBOMs, by repository and digest of the manifest; and of reports, by scan id."""


class SbomFormat(StrEnum):
    """The formats for people; the scanner's own format has the name of its tool."""

    SPDX = "spdx"
    """SPDX 2.3, https://spdx.github.io/spdx-spec/v2.3/"""
    CYCLONEDX = "cyclonedx"
    """CycloneDX, https://cyclonedx.org/specification/overview/"""


def sbom_key(repository: str, manifest: Digest, name: str) -> str:
    """Return the key of the SBOM of the image *manifest* in *repository*, which is `registry/path`.

    A registry that names the layers of another repository gets no SBOM of them. *name* is an `SbomFormat` or the family
    of a tool.
    """
    return f"{SBOMS}{sha256(repository.encode()).hexdigest()[:40]}/{manifest.replace(':', '/')}/{name}.json"


def earlier_sbom_key(manifest: Digest, name: str) -> str:
    """As `sbom_key`, for scans of version 0.2.0, which did not store the repository."""
    return f"{SBOMS}{manifest.replace(':', '/')}/{name}.json"


def report_key(scan_id: str, manifest: Digest) -> str:
    """Return the key of the complete output of the tool for one platform's image."""
    return f"{SCANS}{scan_id}/{manifest.replace(':', '-')}.report.json"


def findings_key(scan_id: str, manifest: Digest) -> str:
    """Return the key of all findings of one platform's image, as a JSON list of `Finding`."""
    return f"{SCANS}{scan_id}/{manifest.replace(':', '-')}.findings.json"


def log_key(scan_id: str) -> str:
    """Return the key of the log of a scan."""
    return f"{SCANS}{scan_id}/scan.log"
