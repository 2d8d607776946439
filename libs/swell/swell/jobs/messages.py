"""The messages that services exchange over NATS: jobs for one worker, and events for every subscriber.

`Message` and `Job` are mixins without fields, so that a message can also derive from another Struct.
"""

from datetime import datetime
from typing import ClassVar, Self

from msgspec import Struct

from swell.build_spec import BuildSpec
from swell.oci.digest import Digest
from swell.registry.credentials.principal import PUBLIC, Principal
from swell.store.records import NO_ATTEMPT, BuildResult, MirrorImage, Submission


class Message:
    """A message on *subject*. The stream stores a second message with the same `id` only after ten minutes."""

    __slots__ = ()
    subject: ClassVar[str]

    @property
    def id(self) -> str:
        """The id of the build, token, request or event; a field of each message."""
        raise NotImplementedError

    @classmethod
    def subjects(cls) -> str:
        """The subject, or pattern of subjects, of all messages of this kind."""
        return cls.subject

    @property
    def address(self) -> str:
        """The subject of this message."""
        return self.subject


class Job(Message):
    """Work for one worker. Each job has a subject of its own, so that it can be looked up in the queue."""

    __slots__ = ()

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


class BuildJob(BuildSpec, Job, frozen=True, kw_only=True):
    """Build an image and push it as *target_image*; `id` is the build id.

    `context` is the digest of a gzipped tar file in the object store. So are `layers`; each becomes the file
    `layer-<hex>.tar.gz` of the context, still compressed.
    """

    subject: ClassVar[str] = "jobs.build"

    id: str
    context: Digest | None = None
    layers: tuple[Digest, ...] = ()
    organisation: str = ""
    sif: Definition | None = None
    """Convert the image into a SIF file; `target_image` then begins with `oras://`."""


class IndexJob(Struct, Job, frozen=True, kw_only=True):
    """Push an index as *target_image* when the images of all children in the record of the build `id` exist.

    *platform* lists the platforms of the children, separated by commas.
    """

    subject: ClassVar[str] = "jobs.index"

    id: str
    target_image: str
    platform: str
    organisation: str = ""
    push_principal: Principal = PUBLIC


class MirrorJob(Struct, Job, frozen=True, kw_only=True):
    """Copy the images in the record of the mirror `id`; *target_image* is the name of the first copy."""

    subject: ClassVar[str] = "jobs.mirror"

    id: str
    target_image: str
    organisation: str = ""
    platform: str = ""


class RequestJob(Struct, Job, frozen=True, kw_only=True):
    """A job whose sender waits for the answer on the subject `reply` until `deadline` (UTC)."""

    id: str
    reply: str
    deadline: datetime


class InspectJob(RequestJob, frozen=True, kw_only=True):
    """Inspect *image* with the credentials of *principal*; of an index, the image for *platform*, if given.

    With *referrers*, list what refers to it, too.
    """

    subject: ClassVar[str] = "jobs.inspect"

    image: str
    platform: str | None = None
    principal: Principal = PUBLIC
    referrers: bool = False


class MirrorPlanJob(RequestJob, frozen=True, kw_only=True):
    """Return a `MirrorPlan`: what the copies of *images* would send, without sending it.

    The images are read with the credentials of *principal*, their targets with those of *push_principal*.
    """

    subject: ClassVar[str] = "jobs.mirror-plan"

    images: tuple[MirrorImage, ...]
    principal: Principal = PUBLIC
    push_principal: Principal = PUBLIC


class ScanJob(Struct, Job, frozen=True, kw_only=True):
    """Scan the image of the submission `id`, a scan id."""

    subject: ClassVar[str] = "jobs.scan"

    id: str


class ScanDone(Struct, Message, frozen=True, kw_only=True):
    """A scan has ended and its result is stored; `id` is the scan id, `platform` lists what was scanned.

    `counts` are the findings by severity; empty if the scan failed. `build_id` is the build that has made the image.
    """

    subject: ClassVar[str] = "events.scan.done"

    id: str
    image: str
    platform: str
    succeeded: bool
    finished: datetime
    organisation: str = ""
    counts: dict[str, int] = {}
    build_id: str = ""


class SbomStored(Struct, Message, frozen=True, kw_only=True):
    """The scanner has stored SBOMs of a built image; `id` is the build, `manifests` those of its platforms."""

    subject: ClassVar[str] = "events.sbom.stored"

    id: str
    manifests: tuple[Digest, ...]


class ScanAffected(Struct, Message, frozen=True, kw_only=True):
    """A new database has findings for a scanned image that the former one did not have; `id` is unique.

    `added` are the new findings by severity, `vulnerabilities` their ids, at most 100.
    """

    subject: ClassVar[str] = "events.scan.affected"

    id: str
    scan_id: str
    image: str
    digest: Digest | None = None
    added: dict[str, int] = {}
    vulnerabilities: tuple[str, ...] = ()


class BuildDone(Struct, Message, frozen=True, kw_only=True):
    """A build, or a mirror, has ended and its result is stored; `id` is its id.

    `begun` is false when the build was cancelled before a builder started it.
    """

    subject: ClassVar[str] = "events.build.done"

    id: str
    target_image: str
    platform: str
    succeeded: bool
    finished: datetime
    organisation: str = ""
    begun: bool = True

    @classmethod
    def of(cls, build_id: str, build: "BuildJob | IndexJob | MirrorJob | Submission", result: BuildResult) -> Self:
        """Return the event for a *build* that ended with *result*."""
        return cls(
            id=build_id,
            target_image=build.target_image,
            platform=build.platform,
            organisation=build.organisation,
            succeeded=result.succeeded,
            finished=result.finished,
            begun=result.attempt != NO_ATTEMPT,
        )


class BuildCancelled(Struct, Message, frozen=True, kw_only=True):
    """The build `id` is cancelled, and its record says so: the builder that runs it stops it."""

    subject: ClassVar[str] = "events.build.unwanted"

    id: str


class TokenRevoked(Struct, Message, frozen=True, kw_only=True):
    """The token `id` is revoked: every gateway removes it from its cache."""

    subject: ClassVar[str] = "events.token.revoked"

    id: str


class KeyChanged(Struct, Message, frozen=True, kw_only=True):
    """The API key `key_id` is revoked, or has other limits: every gateway removes it from its cache; `id` is unique."""

    subject: ClassVar[str] = "events.key.changed"

    id: str
    key_id: str
    revoked: bool = True


class VaultChanged(Struct, Message, frozen=True, kw_only=True):
    """The stored credentials of `owner` have changed: every gateway removes what it has cached; `id` is unique."""

    subject: ClassVar[str] = "events.vault.changed"

    id: str
    owner: str


class ImagesPulled(Struct, Message, frozen=True, kw_only=True):
    """One gateway has served `count` image manifests since its last event.

    All were pulled on `day` (UTC, such as 2026-11-23) for `architecture` (such as amd64) by users of `organisation`,
    or by anonymous users when that is empty. `fusion`: the images contain Fusion. `bytes` is the size of the images:
    of their configs and layers, as their manifests say. `hits` counts container requests whose image existed already.
    """

    subject: ClassVar[str] = "events.image.pulled"

    id: str
    day: str
    count: int
    architecture: str = ""
    organisation: str = ""
    fusion: bool = False
    bytes: int = 0
    hits: int = 0
