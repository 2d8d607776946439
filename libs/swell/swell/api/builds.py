"""What clients read about builds and container requests.

Source: Wave's public API. Instants are UTC and end in `Z`; durations are seconds, always with a decimal point, because
Wave's command line takes a number without one for nanoseconds.
"""

from datetime import datetime, timedelta

from msgspec import Struct


def seconds(duration: timedelta) -> float:
    """*duration* in seconds with milliseconds: JSON then has a point and never an exponent."""
    return round(duration.total_seconds(), 3)


class ChildBuild(Struct, frozen=True):
    """A build by its `id`; `value` is the platform that it is for."""

    id: str
    value: str


class ChildBuilds(Struct, frozen=True):
    refs: tuple[ChildBuild, ...]


class BuildRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`GET /v1alpha1/builds/{buildId}`; `duration`, `exit_status` and `digest` are there once it has ended.

    `build_child_ids` are the builds of its platforms where there are several; one that needed none is not among them.
    """

    build_id: str
    docker_file: str
    target_image: str
    start_time: datetime
    platform: str
    format: str
    offset_id: str
    duration: float | None = None
    exit_status: int | None = None
    digest: str | None = None
    build_child_ids: ChildBuilds | None = None


class BuildStatus(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`GET /v1alpha1/builds/{buildId}/status`; `status` is PENDING or COMPLETED."""

    id: str
    status: str
    start_time: datetime
    duration: float | None = None
    succeeded: bool | None = None


class ContainerStatus(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`GET /v1alpha2/container/{requestId}/status`; `status` is BUILDING or DONE."""

    id: str
    status: str
    creation_time: datetime
    build_id: str | None = None
    succeeded: bool | None = None
    reason: str | None = None
    details_uri: str | None = None
    duration: float | None = None
