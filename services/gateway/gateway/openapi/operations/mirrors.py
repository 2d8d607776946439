"""Operations of mirrors."""

from gateway.openapi import examples
from gateway.openapi.operations.operation import SUBMIT_ERRORS, cancel, get, post, text
from swell.api.builds import BuildEnd
from swell.api.mirrors import MirrorAnswer, MirrorRecord, MirrorRequest

MIRRORS = (
    post(
        "/v1alpha1/mirrors",
        "Copy a list of images",
        "Copies images with all platforms and referrers into another registry, in one job. A dry run returns the bytes "
        "that would be sent. One image is copied with `mirror` of `POST /v1alpha2/container`, too.",
        "mirrors",
        MirrorAnswer,
        MirrorRequest,
        examples=examples.MIRRORS,
        errors=SUBMIT_ERRORS,
    ),
    get(
        "/v1alpha1/mirrors/{mirrorId}",
        "Get a mirror",
        "The record of a mirror; it is stored for 90 days by default.",
        "mirrors",
        MirrorRecord,
        errors=(404, 429, 503),
    ),
    text(
        "/v1alpha1/mirrors/{mirrorId}/logs",
        "Get the log of a mirror",
        "The lines up to now, or the whole log of an ended mirror. With `Accept: text/event-stream`, the lines as they "
        "appear, then the result.",
        "mirrors",
        events={"end": BuildEnd},
        errors=(404, 429, 503),
    ),
    cancel("mirror", "The mirror stops when no request needs it any more. Images that are complete stay."),
)
