"""Builds and their cancellation."""

from gateway.openapi.schemas.common import ACCOUNT, DIGEST, INSTANT, QUEUE

_DURATION = "Duration of the build in seconds; missing until the build has ended."

_REASON = "Kind of the failure, such as `memory` or `timed-out`; missing if the build did not fail."

SCHEMAS = {
    "BuildPage": "A page of builds, newest first.",
    "BuildRecord": "The record of a build.",
    "SignatureStatus": "The signature of a built image.",
    "SbomStatus": "Why a built image has no SBOM yet.",
    "BuildCompression": "The compression of an image's layers.",
    "CompressionMode": "A compression of layers.",
    "ChildBuilds": "The builds of single platforms.",
    "ChildBuild": "The build of one platform.",
    "BuildStatus": "The status of a build.",
    "BuildStep": "The data of an event `step`: the state of a step of a build.",
    "BuildEnd": "The data of the event `end`: the result of a build.",
    "CancelRequest": "Which requests give up a build: one, by its id; or all requests of a user, by an access token.",
    "Cancellation": "The result of a cancellation.",
}

PROPERTIES = {
    "BuildPage": {
        "builds": "The builds, newest first; at most `limit`.",
        "next": "Send it as `cursor` to get the next page; missing on the last page.",
    },
    "BuildRecord": {
        "buildId": "Id of the build.",
        "dockerFile": "The container file, or the definition file of a SIF file.",
        "condaFile": "The conda environment of a build of packages.",
        "targetImage": "Name of the image that the build creates.",
        "startTime": f"When the build was requested, {INSTANT}.",
        "platform": "The platform, or several platforms separated by commas.",
        "format": "`DOCKER` for an image, `SINGULARITY` for a SIF file.",
        "offsetId": "Time zone of the request; always `Z`.",
        "buildTemplate": "Template of a build of packages, such as `conda/micromamba:v2`.",
        "compression": "The requested compression of layers.",
        "queuePosition": QUEUE,
        "duration": _DURATION,
        "exitStatus": "Exit status of the build, 0 for success; missing until the build has ended.",
        "digest": f"{DIGEST}; missing until the build has succeeded.",
        "buildChildIds": "The builds of single platforms, if there are several platforms.",
        "reason": _REASON,
        "scanId": "Id of the scan of the image; missing without one.",
        "sbom": "Why the image has no SBOM yet; missing unless listing its packages has failed.",
        "signature": "The signature of the image; missing if the server signs nothing, and before the first attempt.",
        "traceId": "Id of the trace of the request that started the build, 32 hex digits; missing without sampling.",
    },
    "SbomStatus": {
        "status": "`RETRYING` after a failed attempt to list the packages; or `GIVEN_UP`.",
        "attempts": "Number of the last attempt.",
        "time": f"When it ended, {INSTANT}.",
        "reason": "Why it failed.",
    },
    "SignatureStatus": {
        "status": "`SIGNED`; `RETRYING` after a failed attempt; or `GIVEN_UP`.",
        "attempts": "Number of the last attempt.",
        "time": f"When it ended, {INSTANT}.",
        "reason": "Why the last attempt failed; missing otherwise.",
        "keyId": "The key that signed: the SHA-256 digest of its public key (DER); missing for keyless signatures.",
        "identity": "For keyless signatures: the identity in the certificate, as for `cosign verify`.",
        "issuer": "For keyless signatures: who confirmed the identity.",
    },
    "BuildCompression": {
        "mode": "`gzip` (default), `zstd` or `estargz`.",
        "level": "Compression level, 0 to 9; for zstd 0 to 22.",
        "force": "Whether layers of the base image are compressed again as well.",
    },
    "ChildBuilds": {"refs": "One build per platform; an image that exists already needs no build."},
    "ChildBuild": {"id": "Id of the build.", "value": "The platform, such as `linux/arm64`."},
    "BuildStatus": {
        "id": "Id of the build.",
        "status": "`PENDING` or `COMPLETED`.",
        "startTime": f"When the build was requested, {INSTANT}.",
        "duration": _DURATION,
        "succeeded": "Whether the build succeeded; missing until the build has ended.",
        "queuePosition": QUEUE,
        "reason": _REASON,
    },
    "BuildStep": {
        "number": "Number of the step in the log, from 1.",
        "name": "The instruction or the action, at most 1,000 characters.",
        "started": f"When the step started, {INSTANT}.",
        "ended": f"When the step ended, {INSTANT}; missing until then.",
        "cached": "Whether the result of an earlier build was used.",
        "bytes": "Bytes that the step downloaded or uploaded so far.",
        "error": "Why the step failed, at most 1,000 characters.",
    },
    "BuildEnd": {
        "id": "Id of the build.",
        "succeeded": "Whether the build succeeded.",
        "exitStatus": "Exit status of the build, 0 for success.",
        "duration": "Duration of the build in seconds.",
        "digest": f"{DIGEST}; missing if the build failed.",
        "reason": _REASON,
        "message": "What failed and what to do about it.",
    },
    "CancelRequest": {
        "requestId": "Id of the container request that gives up the build.",
        **ACCOUNT,
    },
    "Cancellation": {
        "id": "Id of the build.",
        "cancelled": "Whether the build is cancelled.",
        "others": "Number of other requests that the build continues for.",
    },
}
