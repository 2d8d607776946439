"""Mirrors."""

from gateway.openapi.schemas.common import ACCOUNT, DIGEST, INSTANT, REFRESH_TOKEN, WORKSPACE

SCHEMAS = {
    "MirrorRequest": "Images to copy into another registry.",
    "MirrorAnswer": "The response to a list of images to copy.",
    "MirroredImage": "An image and its copy.",
    "MirrorRecord": "The record of a mirror.",
}

PROPERTIES = {
    "MirrorRequest": {
        "images": "Names of the images to copy; at most 50.",
        "buildRepository": "Registry, or registry and path, of the copies, such as `registry.example.org/mirror`.",
        **ACCOUNT,
        "towerRefreshToken": REFRESH_TOKEN,
        "towerWorkspaceId": WORKSPACE,
        "dryRun": "Whether nothing is copied, and the response says what would be sent.",
    },
    "MirrorAnswer": {
        "mirrorId": "Id of the mirror; missing if nothing has to be copied, and for a dry run.",
        "requestId": "Id of the request, which can cancel it.",
        "images": "The images, in the order of the request.",
        "cached": "Whether all copies have the digests of their sources now.",
        "missing": "Bytes that would be sent; for dry runs only.",
    },
    "MirroredImage": {
        "sourceImage": "Name of the image.",
        "targetImage": "Name of its copy.",
        "digest": f"{DIGEST}, at the time of the request.",
        "cached": "Whether the copy has that digest already.",
        "size": "Bytes of the image with all platforms and referrers; for dry runs only.",
        "missing": "Bytes of it that would be sent; for dry runs only.",
        "missingBlobs": "Number of blobs that would be sent; for dry runs only.",
    },
    "MirrorRecord": {
        "mirrorId": "Id of the mirror, `mr-` and 12 hex digits.",
        "sourceImage": "Name of the image, or of the first one of a list.",
        "targetImage": "Name of its copy.",
        "digest": f"{DIGEST}; missing until it is copied.",
        "creationTime": f"When the mirror was requested, {INSTANT}.",
        "offsetId": "Time zone of the client; always `Z`.",
        "status": "`PENDING` or `COMPLETED`.",
        "queuePosition": "Position in the queue while the mirror waits: 1 for the one that starts next.",
        "duration": "Duration of the copy in seconds; missing until the mirror has ended.",
        "exitCode": "0 for success, -1 for a failure; missing until the mirror has ended.",
        "reason": "Kind of the failure, such as `push` or `base-image`; missing if the mirror did not fail.",
        "message": "Why the mirror failed.",
        "images": "The images of a list.",
    },
}
