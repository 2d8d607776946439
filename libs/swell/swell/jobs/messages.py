"""What is said over NATS: jobs that one worker takes, and events that everybody may hear. Plain values."""

from datetime import datetime
from typing import ClassVar

from msgspec import Struct

from swell.oci.digest import Digest


class Message(Struct, frozen=True, kw_only=True):
    """Something said on *subject*. The same `id` said twice is said once."""

    subject: ClassVar[str]

    id: str


class BuildJob(Message, frozen=True, kw_only=True):
    """Build *containerfile* and push the image as *target_image*; `id` is the build id.

    `context` is the digest of a gzipped tar in the store.
    """

    subject: ClassVar[str] = "jobs.build"

    target_image: str
    containerfile: str
    platform: str
    context: Digest | None = None


class BuildDone(Message, frozen=True, kw_only=True):
    """A build has ended, well or not; its result is in the store. `id` is the build id."""

    subject: ClassVar[str] = "events.build.done"

    target_image: str
    platform: str
    succeeded: bool
    finished: datetime


class ImagesPulled(Message, frozen=True, kw_only=True):
    """One gateway has answered `count` manifest requests on `day` (UTC, 2026-11-23) since it last told."""

    subject: ClassVar[str] = "events.image.pulled"

    day: str
    count: int
