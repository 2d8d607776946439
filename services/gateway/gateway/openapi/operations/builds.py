"""Operations of builds and what they made."""

from typing import Any

from gateway.openapi.operations.operation import CURSOR, IMAGE, LIMIT, SCAN_PLATFORM, USER, cancel, get, text
from swell.api.builds import BuildEnd, BuildPage, BuildRecord, BuildStatus, BuildStep

BUILDS = (
    get(
        "/v1alpha1/builds",
        "List the builds of an image",
        "Newest first, in pages of at most 100 builds.",
        "builds",
        BuildPage,
        query=(IMAGE, CURSOR, LIMIT),
        required=(IMAGE,),
        errors=(400, 503),
    ),
    get(
        "/v1alpha2/builds",
        "List your builds",
        "The builds that requests of the user have started or waited for, newest first, in pages of at most 100. The "
        "last 500 builds of a user are listed. An operator names the user.",
        "builds",
        BuildPage,
        query=(USER, CURSOR, LIMIT),
        errors=(400, 403, 429, 503),
        personal=True,
    ),
    get(
        "/v1alpha1/builds/{buildId}",
        "Get a build",
        "The inputs and the result of a build. It does not name who requested it.",
        "builds",
        BuildRecord,
        errors=(404, 503),
    ),
    get(
        "/v1alpha1/builds/{buildId}/status",
        "Get the status of a build",
        "Whether the build has ended, and how. Times are in seconds.",
        "builds",
        BuildStatus,
        errors=(404, 503),
    ),
    text(
        "/v1alpha1/builds/{buildId}/logs",
        "Get the log of a build",
        "The whole log of an ended build, or the lines of a running build up to now; at most 64 MiB are stored. "
        "With `Accept: text/event-stream` each line is an event as it appears, so is each step of the build, as `step` "
        "when it starts and ends, and the last event is the result.",
        "builds",
        events={"step": BuildStep, "end": BuildEnd},
        errors=(400, 404, 503),
    ),
    get(
        "/v1alpha1/builds/{buildId}/sif",
        "Download the SIF file of a build",
        "A redirect to the bytes of the file, where ranges are supported. "
        "The caller needs read access to the base images.",
        "builds",
        None,
        status=307,
        errors=(403, 404, 502, 503),
    ),
    text(
        "/v1alpha1/builds/{buildId}/condalock",
        "Get the lock file of a build",
        "The exact packages that a build of packages installed.",
        "builds",
        errors=(404, 503),
    ),
    *(
        get(
            f"/v1alpha1/builds/{{buildId}}/{name}",
            f"Get the {title} of a build",
            f"{description} It is also attached to the image in its registry. Missing until the image is signed.",
            "builds",
            dict[str, Any],
            errors=(404, 503),
        )
        for name, title, description in (
            ("signature", "signature", "A sigstore bundle for `cosign verify`, with the operator's key or identity."),
            ("provenance", "provenance", "A sigstore bundle with SLSA provenance v1; without a key, the stored facts."),
        )
    ),
    get(
        "/v1alpha1/builds/{buildId}/sbom",
        "Get the SBOM of a build",
        "The packages as SPDX 2.3, of the lock file or listed by the scanner: a sigstore bundle, which is also "
        "attached to the image in its registry; before the signature, or without a signing key, the SPDX document "
        "itself. A build of several platforms lists them in `platforms`, and `platform` selects one.",
        "builds",
        dict[str, Any],
        query=(SCAN_PLATFORM,),
        errors=(400, 404, 503),
    ),
    cancel(
        "build",
        "Give up the build; it is cancelled when no other request needs it. "
        "With the account of an operator it is cancelled for all requests.",
    ),
)
