"""Descriptions that several schemas share."""

INSTANT = "in UTC, such as `2026-11-23T12:00:00Z`"

ENDPOINT = "URL of the API of the Seqera Platform that issued the access token."

WORKSPACE = (
    "Id of the workspace whose registry credentials are used, at the Seqera Platform. Default: the personal one."
)

REFRESH_TOKEN = "Refresh token of the Seqera Platform, which renews the access token when it has expired."  # noqa: S105

QUEUE = "Position in the queue while the build waits: 1 for the build that starts next."

DIGEST = "Digest of the image's manifest or index, `sha256:<64 hex digits>`"

ACCOUNT = {
    "towerAccessToken": "An API key of this server, for which the header `Authorization: Bearer` works as well; or an "
    "access token of a paired Seqera Platform.",
    "towerEndpoint": ENDPOINT,
}

PLATFORM = {
    "towerRefreshToken": REFRESH_TOKEN,
    "towerWorkspaceId": WORKSPACE,
    "workflowId": "Id of a run of the Seqera Platform. The AWS credential of its compute environment opens Amazon ECR.",
}
