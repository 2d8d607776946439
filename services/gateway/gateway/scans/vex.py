"""The findings of a scan as an OpenVEX document: what the policy waives is not affected, the rest is.

Source: OpenVEX specification, https://github.com/openvex/spec/blob/main/OPENVEX-SPEC.md
Source: purl-spec, "oci", https://github.com/package-url/purl-spec/blob/main/types-doc/oci-definition.md
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from swell.oci.digest import Digest
from swell.oci.reference import Reference
from swell.store.scans import Finding, Scan

CONTEXT = "https://openvex.dev/ns/v0.2.0"


def openvex(scan: Scan, image: Reference, findings: Iterable[tuple[Digest, Finding]]) -> dict[str, Any]:
    """Return the document for *findings*, each with the digest of the platform's manifest that has it."""
    moment = (scan.result and scan.result.matched) or scan.submission.created
    return {
        "@context": CONTEXT,
        "@id": f"urn:swell:scan:{scan.id}",
        "author": "Swell",
        "timestamp": moment.isoformat().replace("+00:00", "Z"),
        "version": 1,
        "statements": [_statement(image, digest, finding) for digest, finding in findings],
    }


def image_url(image: Reference, digest: Digest) -> str:
    """The package URL of the manifest *digest* in the repository of *image*."""
    name = image.repository.rpartition("/")[2]
    return f"pkg:oci/{quote(name, safe='')}@{quote(digest, safe='')}?repository_url={quote(image.name, safe='/')}"


def _statement(image: Reference, digest: Digest, finding: Finding) -> dict[str, Any]:
    product: dict[str, Any] = {"@id": image_url(image, digest)}
    if finding.package_url:
        product["subcomponents"] = [{"@id": finding.package_url}]
    vulnerability: dict[str, Any] = {"name": finding.id}
    if finding.aliases:
        vulnerability["aliases"] = list(finding.aliases)
    statement: dict[str, Any] = {"vulnerability": vulnerability, "products": [product]}
    if finding.waiver:
        return statement | {"status": "not_affected", "impact_statement": finding.waiver}
    version = f"{finding.package} {finding.version}"
    action = f"Update {version} to {finding.fixed_version}." if finding.fixed_version else f"{version} has no fix yet."
    return statement | {"status": "affected", "action_statement": action}
