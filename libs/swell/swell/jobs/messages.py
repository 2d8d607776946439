"""What is said over NATS: jobs that one worker takes, and events that everybody may hear. Plain values."""

from datetime import datetime
from typing import ClassVar, Self

from msgspec import Struct

from swell.api.containers import BuildCompression, BuildOptions
from swell.api.package_layers import PackageLayers
from swell.oci.digest import Digest
from swell.registry.principal import PUBLIC, Principal
from swell.store.records import NO_ATTEMPT, BuildResult, Submission


class Message(Struct, frozen=True, kw_only=True):
    """Something said on *subject*. The same `id` said twice is said once."""

    subject: ClassVar[str]

    id: str

    @classmethod
    def subjects(cls) -> str:
        """Where all messages of this kind are said."""
        return cls.subject

    @property
    def address(self) -> str:
        """Where this one is said."""
        return self.subject


class Job(Message, frozen=True, kw_only=True):
    """Work for one of those who take it; each has a subject of its own, so that the queue can be asked for it."""

    @classmethod
    def subjects(cls) -> str:
        return f"{cls.subject}.*"

    @property
    def address(self) -> str:
        return f"{self.subject}.{self.id}"


POST_FILE = "singularity.post"
"""The name of `Definition.post` in the context."""


class Definition(Struct, frozen=True, omit_defaults=True):
    """What an Apptainer definition file says beyond what a container file can: scripts, as they stand, and labels.

    `text` is the whole of it, or of the container file that was sent instead. `post` is no part of the SIF file: a step
    of the container file runs it, from the context, where it is when it is not empty.
    """

    text: str = ""
    post: str = ""
    environment: str = ""
    runscript: str = ""
    startscript: str = ""
    help: str = ""
    labels: dict[str, str] = {}


class BuildJob(Job, frozen=True, kw_only=True):
    """Build *containerfile* and push the image as *target_image*; `id` is the build id.

    `context` is the digest of a gzipped tar in the store; `environment` is the text of a `conda.yml` beside its files.
    `layers` are gzipped tars in the store too, which go into the context packed, as `layer-<hex>.tar.gz`. With
    `packages` there is no container: they become layers, and *containerfile* only tells what was asked for.
    Steps may be taken from and kept in `cache_repository`; `compression` is how the layers are to be pushed.
    Base images are read with the credentials of `principal`, the image is pushed with those of `push_principal`.
    """

    subject: ClassVar[str] = "jobs.build"

    target_image: str
    containerfile: str
    platform: str
    context: Digest | None = None
    environment: str | None = None
    layers: tuple[Digest, ...] = ()
    packages: PackageLayers | None = None
    cache_repository: str | None = None
    compression: BuildCompression | None = None
    options: BuildOptions | None = None
    organisation: str = ""
    sif: Definition | None = None
    """Make a SIF file of the image; `target_image` then begins with `oras://`."""
    principal: Principal = PUBLIC
    push_principal: Principal = PUBLIC


class IndexJob(Job, frozen=True, kw_only=True):
    """Push an index as *target_image* once the images are there that the record of the build, `id`, names as its
    children; *platform* names those of all, with commas."""

    subject: ClassVar[str] = "jobs.index"

    target_image: str
    platform: str
    organisation: str = ""
    push_principal: Principal = PUBLIC


class RequestJob(Job, frozen=True, kw_only=True):
    """A job whose asker waits for an answer on the subject `reply`, but no longer than until `deadline`."""

    reply: str
    deadline: datetime


class InspectJob(RequestJob, frozen=True, kw_only=True):
    """Inspect *image* with the credentials of *principal*; of an index, the image for *platform*, if given."""

    subject: ClassVar[str] = "jobs.inspect"

    image: str
    platform: str | None = None
    principal: Principal = PUBLIC


class BuildDone(Message, frozen=True, kw_only=True):
    """A build has ended, well or not; its result is in the store. `id` is the build id, `organisation` whose it was
    if it was anybody's. One that was cancelled before a builder took it has not `begun`."""

    subject: ClassVar[str] = "events.build.done"

    target_image: str
    platform: str
    succeeded: bool
    finished: datetime
    organisation: str = ""
    begun: bool = True

    @classmethod
    def of(cls, build_id: str, what: "BuildJob | IndexJob | Submission", result: BuildResult) -> Self:
        """The end of the build that was to make *what*."""
        return cls(
            id=build_id,
            target_image=what.target_image,
            platform=what.platform,
            organisation=what.organisation,
            succeeded=result.succeeded,
            finished=result.finished,
            begun=result.attempt != NO_ATTEMPT,
        )


class BuildCancelled(Message, frozen=True, kw_only=True):
    """Nobody wants the build `id` any more, as its record says too: the builder that has it ends it."""

    subject: ClassVar[str] = "events.build.unwanted"


class TokenRevoked(Message, frozen=True, kw_only=True):
    """A token opens nothing any more; `id` is the token. Every gateway forgets it."""

    subject: ClassVar[str] = "events.token.revoked"


class ImagesPulled(Message, frozen=True, kw_only=True):
    """One gateway has sent `count` image manifests on `day` (UTC, 2026-11-23) since it last told: all of them for
    `architecture` (amd64), for people of `organisation` or anonymous ones, and with Fusion in them or without."""

    subject: ClassVar[str] = "events.image.pulled"

    day: str
    count: int
    architecture: str = ""
    organisation: str = ""
    fusion: bool = False
