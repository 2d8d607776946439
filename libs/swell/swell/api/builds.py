"""What clients read about builds and container requests.

Instants are UTC and end in `Z`; durations are seconds, always with a decimal point, because Wave's command line takes a
number without one for nanoseconds. Source: Wave's public API, https://docs.seqera.io/wave/api
"""

from datetime import datetime, timedelta

from msgspec import Struct, field

from swell.api.containers import BuildCompression


def seconds(duration: timedelta) -> float:
    """*duration* in seconds with milliseconds: JSON then has a point and never an exponent."""
    return round(duration.total_seconds(), 3)


class ChildBuild(Struct, frozen=True):
    """A build by its `id`; `value` is the platform that it is for."""

    id: str
    value: str


class ChildBuilds(Struct, frozen=True):
    refs: tuple[ChildBuild, ...]


class SignatureStatus(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The signature of a built image: `status` is SIGNED, RETRYING after a failed attempt, or GIVEN_UP.

    `attempts` is the number of the last attempt, and `time` its end. `reason` says why it failed. `key_id` is the
    sha256 digest of the public key; or `identity` and `issuer` are those of the certificate, for keyless signatures.
    """

    status: str
    attempts: int
    time: datetime
    reason: str | None = None
    key_id: str | None = None
    identity: str | None = None
    issuer: str | None = None


class SbomStatus(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Why a built image has no SBOM yet: `status` is RETRYING after a failed attempt to list its packages, or GIVEN_UP.

    `attempts` is the number of the last attempt, `time` its end, and `reason` says why it failed.
    """

    status: str
    attempts: int
    time: datetime
    reason: str


class BuildRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`GET /v1alpha1/builds/{buildId}`; `duration`, `exit_status`, `digest` and `reason` are there once it has ended.

    `queue_position` is there while it waits: 1 for the build that begins next. `reason` is the kind of failure.
    `build_child_ids` are the builds of its platforms where there are several; one that needed none is not among them.
    `sbom` is only there while an attempt to list the packages has failed.
    `signature` is missing if the server signs nothing, and before the first attempt to sign the image. `trace_id`
    is that of the request that started it, if the request was sampled.
    """

    build_id: str
    docker_file: str
    conda_file: str | None = None
    target_image: str
    start_time: datetime
    platform: str
    format: str
    offset_id: str
    build_template: str | None = None
    compression: BuildCompression | None = None
    queue_position: int | None = None
    duration: float | None = None
    exit_status: int | None = None
    digest: str | None = None
    build_child_ids: ChildBuilds | None = None
    reason: str | None = None
    scan_id: str | None = None
    signature: SignatureStatus | None = None
    sbom: SbomStatus | None = None
    trace_id: str | None = None


class BuildPage(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`GET /v1alpha1/builds`: builds, newest first; `next` is the cursor of those behind them, if there are any."""

    builds: tuple[BuildRecord, ...]
    next: str | None = None


class BuildStatus(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`GET /v1alpha1/builds/{buildId}/status`; `status` is PENDING or COMPLETED, `reason` the kind of failure."""

    id: str
    status: str
    start_time: datetime
    duration: float | None = None
    succeeded: bool | None = None
    queue_position: int | None = None
    reason: str | None = None


class BuildStep(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The state of a step of a build, in an event of its log.

    `number` is the one in the log lines of the step. `ended` is there once it has ended, and `error` if it failed.
    `bytes` is what it has downloaded or uploaded.
    """

    number: int
    name: str
    started: datetime
    ended: datetime | None = None
    cached: bool = False
    transferred: int = field(default=0, name="bytes")
    error: str = ""


class BuildEnd(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The last event of a build's log: how it ended. `reason` is the kind of failure, `message` describes it."""

    id: str
    succeeded: bool
    exit_status: int
    duration: float
    digest: str | None = None
    reason: str | None = None
    message: str | None = None


class CancelRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """`POST /v1alpha1/builds/{buildId}/cancel`: the one request that leaves, or the access token of all that leave."""

    request_id: str | None = None
    tower_access_token: str | None = None
    tower_endpoint: str | None = None


class Cancellation(Struct, frozen=True, kw_only=True, rename="camel"):
    """The build is `cancelled`, or goes on for `others` requests that want it."""

    id: str
    cancelled: bool
    others: int


class ContainerStatus(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`GET /v1alpha2/container/{requestId}/status`; `status` is BUILDING, SCANNING or DONE. A mirror has no `build_id`.

    `queue_position` is there while the build waits: 1 for the one that begins next. `vulnerabilities` counts the
    findings of a required scan by severity.
    """

    id: str
    status: str
    creation_time: datetime
    build_id: str | None = None
    scan_id: str | None = None
    vulnerabilities: dict[str, int] | None = None
    mirror_id: str | None = None
    succeeded: bool | None = None
    reason: str | None = None
    details_uri: str | None = None
    duration: float | None = None
    queue_position: int | None = None
