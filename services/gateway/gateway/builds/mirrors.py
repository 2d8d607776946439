"""Queries about mirrors: records and logs."""

from collections.abc import AsyncIterator
from typing import Protocol

from swell.api.builds import seconds
from swell.api.mirrors import MirroredImage, MirrorRecord
from swell.errors import NotFound
from swell.store.builds import Builds
from swell.store.records import Build


class Logs(Protocol):
    async def log_of(self, build: Build) -> AsyncIterator[bytes]:
        """The whole log of an ended mirror, or the lines of a running one up to now."""


class MirrorQueries:
    """Raises `NotFound` for ids of builds, and for unknown ids."""

    def __init__(self, builds: Builds, logs: Logs) -> None:
        self._builds = builds
        self._logs = logs

    async def record(self, mirror_id: str) -> MirrorRecord:
        mirror = await self._mirror(mirror_id)
        return mirror_record_of(mirror, None if mirror.result else await self._builds.position(mirror_id))

    async def log(self, mirror_id: str) -> AsyncIterator[bytes]:
        """The whole log of an ended mirror, or the lines of a running one up to now."""
        return await self._logs.log_of(await self._mirror(mirror_id))

    async def _mirror(self, mirror_id: str) -> Build:
        if (mirror := await self._builds.get(mirror_id)) is None or not mirror.submission.mirror:
            raise NotFound(f"no mirror {mirror_id}")
        return mirror


def mirror_record_of(mirror: Build, position: int | None = None) -> MirrorRecord:
    """The public record of *mirror*; it does not contain who requested it."""
    images, result = mirror.submission.mirror, mirror.result
    return MirrorRecord(
        mirror_id=mirror.id,
        source_image=images[0].source,
        target_image=images[0].target,
        digest=result.digest if result else None,
        creation_time=mirror.submission.created,
        offset_id="Z",
        status="COMPLETED" if result else "PENDING",
        queue_position=position,
        duration=seconds(result.duration) if result else None,
        exit_code=result.exit_status if result else None,
        reason=result.reason if result else None,
        message=(result.message or None) if result else None,
        images=tuple(
            MirroredImage(source_image=each.source, target_image=each.target, digest=each.digest)
            for each in (images if len(images) > 1 else ())
        ),
    )
