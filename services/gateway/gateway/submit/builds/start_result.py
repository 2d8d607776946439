"""The image or the build of a request, new or not."""

from collections.abc import Sequence

from msgspec import Struct

from swell.oci.reference import Reference
from swell.store.records import Submission


class StartResult(Struct, frozen=True, kw_only=True):
    """The image of a request: it exists, or the build `build_id` makes it.

    `cached` is None if the image needs no build, or if a dry run cannot determine it. `clients` are the queues that
    have a new build. `warnings` are sentences about what a dry run could not determine.
    """

    image: Reference
    build_id: str | None = None
    cached: bool | None = None
    succeeded: bool | None = None
    clients: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_build(self) -> bool:
        """Whether a build makes or has made the image, so that this server pushes it."""
        return self.cached is not None or self.build_id is not None


class StartedBuild(Struct, frozen=True, kw_only=True):
    """A running build, new or not; `build_id` is None if the image exists already."""

    submission: Submission
    build_id: str | None = None
    is_new: bool = False


def start_result(image: Reference, started: Sequence[StartedBuild]) -> StartResult:
    """Return the result of a new build; the last one of *started* makes *image*."""
    clients = tuple(dict.fromkeys(each.submission.client for each in started if each.is_new))
    return StartResult(image=image, build_id=started[-1].build_id, cached=False, clients=clients)
