"""The records that services keep for each other in Redis. Each kind has one writing service."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from msgspec import Struct

from swell.api.containers import BuildCompression, BuildOptions
from swell.api.package_layers import PackageLayers
from swell.oci.digest import Digest
from swell.registry.principal import PUBLIC, Principal


class Child(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The image of one platform of several: what makes it, or nothing when it was there already."""

    platform: str
    target_image: str
    build_id: str | None = None


class Submission(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A build as it was asked for. Written once by the gateway, before the job is published.

    `context`, `environment` and `layers` are what the context is made of, `packages` what needs none, as in
    a `BuildJob`. `client` stands for whose build it is among those that wait, and tells nobody who that is.
    `principal` is whose credentials read the images that the build is made of, `push_principal` whose credentials push;
    `included` are images whose layers are among `layers`.
    """

    container_id: str
    target_image: str
    containerfile: str
    platform: str
    created: datetime
    context: Digest | None = None
    environment: str | None = None
    layers: tuple[Digest, ...] = ()
    packages: PackageLayers | None = None
    cache_repository: str | None = None
    compression: BuildCompression | None = None
    options: BuildOptions | None = None
    organisation: str = ""
    sif: bool = False
    """A SIF file is made of the image; `target_image` then begins with `oras://`."""
    children: tuple[Child, ...] = ()
    """What is built is an index of these, where there are several platforms."""
    template: str | None = None
    client: str = ""
    principal: Principal = PUBLIC
    push_principal: Principal = PUBLIC
    included: tuple[str, ...] = ()


class Reason(StrEnum):
    """What kind of failure it was, and so whose turn it is."""

    RECIPE = "recipe"
    CONTEXT = "context"
    BASE_IMAGE = "base-image"
    PACKAGE = "package"
    MEMORY = "memory"
    TIMED_OUT = "timed-out"
    PLATFORM = "platform"
    PUSH = "push"
    DISK = "disk"
    ENGINE = "engine"
    GIVEN_UP = "given-up"
    """No builder could even begin; its job is among the dead letters, and may be replayed."""
    CANCELLED = "cancelled"

    @property
    def is_users(self) -> bool:
        """Whether another container file or context could mend it."""
        return self not in {Reason.PUSH, Reason.DISK, Reason.ENGINE, Reason.GIVEN_UP}


NO_ATTEMPT = 0


class BuildResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a build ended. Written once, by the builder that had it, or by whoever took it out of the queue.

    `digest` names the pushed manifest when it succeeded; the log is that of the `attempt`; without one
    there is none.
    """

    succeeded: bool
    exit_status: int
    started: datetime
    finished: datetime
    digest: Digest | None = None
    reason: Reason | None = None
    message: str = ""
    attempt: int = 1

    @property
    def duration(self) -> timedelta:
        return self.finished - self.started

    @classmethod
    def never_begun(cls, now: datetime) -> Self:
        """How a build ends that is called off while it waits."""
        return cls(
            succeeded=False,
            exit_status=-1,
            started=now,
            finished=now,
            reason=Reason.CANCELLED,
            message="The build was cancelled before it began.",
            attempt=NO_ATTEMPT,
        )


class Build(Struct, frozen=True, kw_only=True):
    """A build: what was asked for and, once it has ended, how. One that is cancelled is ending, or has ended so."""

    id: str
    submission: Submission
    result: BuildResult | None = None
    is_cancelled: bool = False

    @property
    def is_active(self) -> bool:
        """Whether it is on its way to an image, so that others may wait for the same one."""
        return self.result is None and not self.is_cancelled
