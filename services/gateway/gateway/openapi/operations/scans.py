"""Operations of scans."""

from gateway.openapi.operations.operation import SCAN_PLATFORM, get, text
from swell.api.scans import AffectedList, ScanRecord

SCANS = (
    get(
        "/v1alpha1/scans/affected",
        "List images that became affected",
        "Images of all users for which a newer vulnerability database has findings that the former one did not have.",
        "scans",
        AffectedList,
        errors=(429, 503),
        account=True,
    ),
    get("/v1alpha1/scans/{scanId}", "Get a scan", "The record of a scan.", "scans", ScanRecord, errors=(404, 503)),
    text(
        "/v1alpha1/scans/{scanId}/logs",
        "Get the log of a scan",
        "The steps of a scan that has ended.",
        "scans",
        errors=(404, 503),
    ),
    text(
        "/v1alpha1/scans/{scanId}/vex",
        "Get the findings of a scan as OpenVEX",
        "All findings: those that the policy waives are not affected. At most 16 MiB of findings.",
        "scans",
        errors=(404, 413, 503),
    ),
    *(
        text(
            f"/v1alpha1/scans/{{scanId}}/{name}",
            f"Get the {title} of a scan",
            f"{description} Of the first platform, if `platform` names none.",
            "scans",
            query=(SCAN_PLATFORM,),
            errors=(404, 503),
        )
        for name, title, description in (
            ("spdx", "SBOM", "The packages of the image, as SPDX 2.3."),
            ("cyclonedx", "SBOM", "The packages of the image, as CycloneDX."),
            ("report", "report", "The complete output of the scanner's program, grype or trivy, as JSON."),
        )
    ),
)
