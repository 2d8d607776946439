"""The queue: each client's builds wait for a free slot of that client."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Protocol

from swell.errors import BadRequest, TooManyRequests, Unavailable
from swell.store.records import Submission


class BuildQueue(Protocol):
    """The queue of builds. The gateway submits and releases builds, and marks them as published.

    Raises:
        Unavailable: every method, when the store does not answer.
    """

    async def submit(self, submission: Submission, *, instead_of: str | None = None) -> tuple[str, bool]:
        """Register a build unless its target image has one; return the build id and whether it is new.

        *instead_of* is the id of an ended or cancelled build that the new one may replace. A new build enters the queue
        of its client. It counts as interest in the builds of its children while it is active.

        Raises:
            BadRequest: another build has its container id, and was made from other inputs.
            TooManyRequests: the client's queue is full.
            Unavailable: a child is being cancelled.
        """

    async def release(self, client: str, limit: int) -> list[str]:
        """Release the oldest builds of *client* until *limit* are running; return their ids.

        Released builds count as unpublished until `published` is called.
        """

    async def waiting(self) -> list[str]:
        """Return clients with builds to release: at most 100 with an ended build, and at most 100 with queued builds.

        A client with an ended build is returned once.
        """

    async def published(self, build_id: str) -> None:
        """Record that the job of *build_id* is in the message queue."""

    async def unpublish_all(self) -> None:
        """Record that no build that has not ended has a job in the message queue."""

    async def unpublished(self, age: timedelta) -> list[str]:
        """Return at most 100 builds that were released more than *age* ago and not published, oldest first."""

    async def unfinished(self, age: timedelta) -> list[str]:
        """Return at most 100 builds that were released more than *age* ago and have not ended, oldest first."""

    async def forget(self, build_id: str) -> None:
        """Remove *build_id* from `unpublished` and `unfinished`: it has ended, or its record has expired."""

    async def position(self, build_id: str) -> int | None:
        """Return the position in the queue, 1 for the build that starts next; None when it is not queued."""


def queue_is_full(queue_limit: int) -> TooManyRequests:
    return TooManyRequests(
        f"{queue_limit} builds of yours are queued already; wait until some start, or cancel some", retry_after=30
    )


def has_other_inputs(submission: Submission) -> BadRequest:
    return BadRequest(
        f"another request has the container id {submission.container_id}, so {submission.target_image} is another "
        "image; change the container file, for example a comment in it"
    )


def inputs_of(submission: Submission) -> str:
    """Return what is stored of the inputs of *submission*: 128 bits of their SHA-256; empty if it has none."""
    return submission.fingerprint[:32]


def is_being_cancelled(build_id: str) -> Unavailable:
    return Unavailable(f"the build {build_id} is being cancelled; try again")


def child_ids(submission: Submission) -> list[str]:
    """Return the ids of the builds that *submission* depends on; children that existed already have no build."""
    return list(_child_ids(submission))


def _child_ids(submission: Submission) -> Iterator[str]:
    for child in submission.children:
        if child.build_id:
            yield child.build_id
