"""The messages of `/v1alpha1/mirrors`: copies of images, unchanged, into another registry.

A mirror of one image is requested with `POST /v1alpha2/container`, as in Wave's API; a list of images is Swell's own.
Source: Wave's documentation, "Container mirroring", https://docs.seqera.io/wave/provisioning#container-mirroring
"""

from datetime import datetime

from msgspec import Struct

from swell.api.containers import WorkspaceId


class MirroredImage(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An image of a mirror. A dry run returns `size`, the bytes of the whole image, and `missing`, those to send."""

    source_image: str
    target_image: str
    digest: str
    cached: bool | None = None
    size: int | None = None
    missing: int | None = None
    missing_blobs: int | None = None


class MirrorRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """`POST /v1alpha1/mirrors`: images to copy to `build_repository` (`registry` or `registry/path`) in one job."""

    images: tuple[str, ...]
    build_repository: str
    tower_access_token: str | None = None
    tower_refresh_token: str | None = None
    tower_endpoint: str | None = None
    tower_workspace_id: WorkspaceId | None = None
    dry_run: bool = False


class MirrorAnswer(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The response to a `MirrorRequest`; without `mirror_id`, nothing has to be copied, or the request was a dry run.

    `request_id` withdraws the request from the mirror. `missing` is the sum of the bytes that would be sent.
    """

    mirror_id: str | None = None
    request_id: str | None = None
    images: tuple[MirroredImage, ...]
    cached: bool
    missing: int | None = None


class MirrorRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`GET /v1alpha1/mirrors/{mirrorId}`; `duration`, `exit_code`, `digest` and `reason` are there once it has ended.

    `status` is PENDING or COMPLETED. `queue_position` is there while it waits. `images` are the images of a list; the
    other members describe the first one. `message` explains a failure.
    """

    mirror_id: str
    source_image: str
    target_image: str
    digest: str | None = None
    creation_time: datetime
    offset_id: str
    status: str
    queue_position: int | None = None
    duration: float | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    images: tuple[MirroredImage, ...] = ()


class PlannedImage(Struct, frozen=True, kw_only=True):
    """What the copy of one image would send: `missing` of `size` bytes, in `missing_blobs` blobs and its documents."""

    digest: str
    size: int
    missing: int
    missing_blobs: int
    cached: bool


class MirrorPlan(Struct, frozen=True, kw_only=True):
    """The plans of the images of a mirror, in their order."""

    images: tuple[PlannedImage, ...]
