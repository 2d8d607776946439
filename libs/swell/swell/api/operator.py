"""The messages of `/v1alpha2/operator`: what an operator sees and changes. Lists have pages of at most 100 entries."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

Text = Annotated[str, Meta(max_length=500)]
BuildState = Literal["waiting", "ready", "running"]


class DiskUse(Struct, frozen=True, kw_only=True):
    """The disk of a folder of a worker; sizes are bytes."""

    name: str
    total: int
    free: int


class CacheUse(Struct, frozen=True, kw_only=True):
    """A cache on the disk of a worker: the bytes that it uses, and at most uses."""

    name: str
    used: int
    limit: int


class Worker(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A process that takes jobs, or stores files: a builder, a scanner or a registry-proxy.

    `missing` says, by architecture, what a builder lacks to run build steps. `problem` says why the worker cannot work.
    A `drained` worker shall take no more jobs, and a `paused` one takes none. `slots` and `running` count jobs.
    """

    id: str
    service: str
    version: str
    started: datetime
    engine: str = ""
    platforms: tuple[str, ...] = ()
    missing: dict[str, str] = {}
    slots: int = 0
    running: int = 0
    drained: bool = False
    paused: bool = False
    problem: str = ""
    disks: tuple[DiskUse, ...] = ()
    caches: tuple[CacheUse, ...] = ()


class WorkerPage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Workers by id; `next` is the cursor of the next page."""

    workers: tuple[Worker, ...]
    next: str | None = None


class QueueClient(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The queue of a client, a user or an address, whose name is hashed.

    `waiting` and `running` count builds and mirrors. The others are of its oldest build that has not ended.
    """

    client: str
    waiting: int
    running: int
    oldest: datetime | None = None
    organisation: str = ""


class QueuePage(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """All builds that have not ended, by state, and the queues of clients; ages are in seconds.

    `is_complete` is false if there are more builds than are read.
    """

    waiting: int
    ready: int
    running: int
    unpublished: int
    oldest_waiting: float
    oldest_ready: float
    is_complete: bool
    clients: tuple[QueueClient, ...]
    next: str | None = None


class QueuedBuild(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A build or mirror that has not ended. `position` is 1 for the build that starts next.

    `users` are at most 10 of those whose requests need it; anonymous ones have no name.
    """

    id: str
    state: BuildState
    client: str
    position: int | None = None
    target_image: str = ""
    platform: str = ""
    organisation: str = ""
    users: tuple[str, ...] = ()
    attempts: int = 0
    submitted: datetime | None = None
    released: datetime | None = None


class QueuedBuildPage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Builds in the order in which they were released, then those that wait; `next` is the cursor of the next page."""

    builds: tuple[QueuedBuild, ...]
    next: str | None = None


class DeadLetterRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A job or an event that no worker could handle. `job_id` is the id of its build, scan or event.

    `size` is that of its content, in bytes.
    """

    number: int
    subject: str
    reason: str
    job_id: str = ""
    stored: datetime | None = None
    size: int = 0


class DeadLetterPage(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Dead letters, oldest first; `next` is the cursor of the next page."""

    dead_letters: tuple[DeadLetterRecord, ...]
    next: str | None = None


class RevocationRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """`POST /v1alpha2/operator/tokens/revoke`: revoke the tokens for which all named members are true.

    `image` is an image with a tag or a digest, or `registry` or `registry/path` for all images below. With `dry_run`,
    tokens are counted and not revoked. `cursor` is `next` of the response before.
    """

    user: Text | None = None
    organisation: Text | None = None
    image: Text | None = None
    build_id: Text | None = None
    dry_run: bool = False
    cursor: Annotated[str, Meta(pattern=r"^[0-9]{1,20}$")] | None = None


class RevocationAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many tokens were `examined` and `revoked` (with a dry run: would be); with `next`, more are left."""

    examined: int
    revoked: int
    next: str | None = None


class AuditRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event of the audit trail.

    `user` is whose request, key or credential it is, `actor` who has acted for that user. `subject` is the id of the
    build, mirror, key, credential or worker, or the fingerprint of a token.
    """

    id: str
    time: datetime
    action: str
    user: str = ""
    actor: str = ""
    organisation: str = ""
    subject: str = ""
    image: str = ""


class AuditPage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Events, newest first; `next` is the cursor of the next page."""

    events: tuple[AuditRecord, ...]
    next: str | None = None


class RemovalRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """`POST /v1alpha2/operator/organisations/remove`: remove all data of `organisation`, or count it (`dry_run`).

    `cursor` is `next` of the response before.
    """

    organisation: Annotated[str, Meta(min_length=1, max_length=254)]
    dry_run: bool = False
    cursor: Annotated[str, Meta(pattern=r"^[0-9]{1,20}$")] | None = None


class RemovalAnswer(Struct, kw_only=True):
    """How much was removed (with a dry run: would be). `kept` builds run, or tokens of others need them.

    With `next`, more is left.
    """

    credentials: int = 0
    webhooks: int = 0
    accounts: int = 0
    keys: int = 0
    sessions: int = 0
    tokens: int = 0
    builds: int = 0
    scans: int = 0
    kept: int = 0
    next: str | None = None


class SeenRegistry(Struct, frozen=True, kw_only=True, rename="camel"):
    """A registry that has answered, and when it last did."""

    registry: str
    last_used: datetime


class SeenRegistryPage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Registries by name; `next` is the cursor of the next page."""

    registries: tuple[SeenRegistry, ...]
    next: str | None = None


class StateUse(Struct, frozen=True, kw_only=True):
    """The memory of Redis in bytes; `limit` is 0 without one. `keys` counts records."""

    used: int
    limit: int
    keys: int


class StreamUse(Struct, frozen=True, kw_only=True):
    """What a stream of NATS stores."""

    name: str
    messages: int
    bytes: int


class ObjectsUse(Struct, frozen=True, kw_only=True, rename="camel"):
    """The objects of a bucket below a prefix; with `is_complete` false there are more than were counted."""

    bucket: str
    prefix: str
    objects: int
    bytes: int
    is_complete: bool


class WorkerDisk(DiskUse, frozen=True, kw_only=True):
    """The disk of a folder of `worker`."""

    worker: str


class WorkerCache(CacheUse, frozen=True, kw_only=True):
    """A cache on the disk of `worker`."""

    worker: str


class StorageUse(Struct, frozen=True, kw_only=True):
    """What is stored in the backends and by the workers."""

    state: StateUse
    streams: tuple[StreamUse, ...]
    objects: tuple[ObjectsUse, ...]
    disks: tuple[WorkerDisk, ...]
    caches: tuple[WorkerCache, ...]
