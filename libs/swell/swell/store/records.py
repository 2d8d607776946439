"""The records in Redis that services share. Each kind has one writing service."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from msgspec import Struct

from swell.build_spec import BuildSpec
from swell.oci.digest import Digest


class Child(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The image of one of several platforms; `build_id` is None when the image existed already."""

    platform: str
    target_image: str
    build_id: str | None = None


MIRROR_PREFIX = "mr-"
"""The ids of mirrors begin with it; those of builds with `bd-`."""


class MirrorImage(Struct, frozen=True, kw_only=True):
    """An image to copy, under its full name `source`, to `target`; `digest` is that of the source at the request."""

    source: str
    target: str
    digest: Digest


FROM_CLIENT = "client"


class Submission(BuildSpec, frozen=True, kw_only=True, omit_defaults=True):
    """A requested build. The gateway writes it once, before it publishes the job.

    - `container_id` is the hash of the inputs: 16 hexadecimal digits. `fingerprint` is their SHA-256; empty for
      mirrors, and in records of version 0.2.
    - `context` and `layers` are digests of gzipped tar files in the object store, as in a `BuildJob`.
    - `client` names the client's queue without identifying the client.
    - `included` are the images whose layers are among `layers`.
    - `sources` says where the context and the other layers came from: `docker://…` for a blob of a repository, and
      `FROM_CLIENT` for what only the client is known to have, because it was in the request or at a URL. None in
      records of version 0.2.
    """

    container_id: str
    created: datetime
    fingerprint: str = ""
    context: Digest | None = None
    layers: tuple[Digest, ...] = ()
    organisation: str = ""
    sif: bool = False
    """Convert the image into a SIF file; `target_image` then begins with `oras://`."""
    children: tuple[Child, ...] = ()
    """With several platforms, the images that the pushed index lists."""
    template: str | None = None
    series: str = ""
    """A hash of what its user calls the image, whatever its versions are; empty if it has no such name."""
    base_packages: tuple[str, ...] = ()
    """Conda packages that the request adds to its packages, as specs; they may name channels."""
    client: str = ""
    included: tuple[str, ...] = ()
    sources: tuple[str, ...] | None = None
    mirror: tuple[MirrorImage, ...] = ()
    """With images, nothing is built: they are copied. `container_id` is then the id of the mirror, and `target_image`
    is the first target."""
    traceparent: str = ""
    """The trace of the request, which its job continues."""
    reads_public_only: bool = False
    """The build reads only images that are public; False also in records from before there were principals."""


class Reason(StrEnum):
    """The kind of a failure, which says who can solve it."""

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
    """No builder could start it; its job is a dead letter and can be replayed."""
    CANCELLED = "cancelled"

    @property
    def is_users(self) -> bool:
        """Return whether the client can solve it, with another container file or context."""
        return self not in {Reason.PUSH, Reason.DISK, Reason.ENGINE, Reason.GIVEN_UP}


CONTAINER_ID = "swell.container-id"
"""The annotation of an image with the container id of the request that it was built for."""


def container_id_of(build_id: str) -> str:
    """Return the hash of the inputs in *build_id*, without the number of the build.

    Equal inputs give an equal id, so an image that has it does not differ from one that is built again.
    """
    return build_id.removeprefix("bd-").partition("_")[0]


NO_ATTEMPT = 0


class BuildResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of a build. Written once: by the builder that ran it, or by the gateway that cancelled it.

    `digest` is that of the pushed manifest. The log is that of `attempt`; `NO_ATTEMPT` has no log.
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
        """Return the result of a build that is cancelled in the queue."""
        return cls(
            succeeded=False,
            exit_status=-1,
            started=now,
            finished=now,
            reason=Reason.CANCELLED,
            message="The build was cancelled before it began.",
            attempt=NO_ATTEMPT,
        )


class SigningState(StrEnum):
    """Where the signature of an image is."""

    SIGNED = "SIGNED"
    RETRYING = "RETRYING"
    """The last attempt failed; another one follows."""
    GIVEN_UP = "GIVEN_UP"
    """No further attempt follows, unless the operator replays the dead letter."""


class Signing(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last attempt to sign the image of a build; the builder writes it. `reason` is that of a failure.

    `key_id` is that of the key that signed, or `identity` and `issuer` are those of the certificate.
    """

    state: SigningState
    attempts: int
    time: datetime
    reason: str = ""
    key_id: str = ""
    identity: str = ""
    issuer: str = ""


class ListingState(StrEnum):
    """Where the list of the packages of an image is, after a failure."""

    RETRYING = "RETRYING"
    """Another attempt follows."""
    GIVEN_UP = "GIVEN_UP"
    """No further attempt follows by itself."""


class Listing(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last attempt to list the packages of the image of a build, which failed; the scanner writes and removes it.

    `failures` are those of the program, among `attempts`. `reason` is the last one.
    """

    state: ListingState
    attempts: int
    time: datetime
    reason: str
    failures: int = 0


class Build(Struct, frozen=True, kw_only=True):
    """A build and, once it has ended, its result. A cancelled build ends soon, or has ended."""

    id: str
    submission: Submission
    result: BuildResult | None = None
    is_cancelled: bool = False

    @property
    def is_active(self) -> bool:
        """Return whether it is queued or running and not cancelled, so that other requests can wait for it."""
        return self.result is None and not self.is_cancelled
