"""Count events, each once, and return the counts."""

from collections.abc import Mapping
from datetime import UTC
from typing import Protocol

from metrics.domain.usage import Counts, Metric, Table, Usage, Use
from swell.jobs.messages import BuildDone, ImagesPulled, Message, ScanDone
from swell.store.records import MIRROR_PREFIX


class Counters(Protocol):
    async def add(self, use: Use) -> bool:
        """Add *use* to all its tables atomically; return false when its event was counted before."""

    async def of_one(self, table: Table, organisation: str) -> int:
        """Return the count of one organisation."""

    async def of_all(self, table: Table) -> tuple[int, Mapping[str, int]]:
        """Return the total, anonymous use included, and the count of each organisation."""

    async def days(self) -> list[str]:
        """Return the days that have tables."""

    async def adjust(self, table: Table, differences: Counts) -> None:
        """Add *differences*, which may be negative, to the counts in *table* atomically."""


class Counting:
    """Counts builds, pulls and scans.

    Raises:
        Unavailable: every method, when the store of the counters does not answer.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def build_done(self, event: BuildDone, _attempt: int) -> None:
        if use := of_build(event):
            await self._counters.add(use)

    async def images_pulled(self, event: ImagesPulled, _attempt: int) -> None:
        await self._counters.add(of_pulls(event))

    async def scan_done(self, event: ScanDone, _attempt: int) -> None:
        await self._counters.add(of_scan(event))

    async def usage(self, table: Table, organisation: str = "") -> Usage:
        """Return the count in *table*, of all or of one *organisation*; an unknown organisation has the count 0."""
        if organisation:
            count = await self._counters.of_one(table, organisation)
            return Usage(count, {organisation: count})
        return Usage(*await self._counters.of_all(table))


def of_build(event: BuildDone) -> Use | None:
    """Return the use of a build or a mirror that has ended, successful or not; None when it does not count.

    The index of several platforms does not count, because the builds of its platforms do. A build that was cancelled
    before its start does not count.
    """
    if "," in event.platform or not event.begun:
        return None
    day = event.finished.astimezone(UTC).date().isoformat()
    return Use(
        event_id=_id(event),
        metrics=(Metric.MIRRORS if event.id.startswith(MIRROR_PREFIX) else Metric.BUILDS,),
        day=day,
        architecture=_architecture(event.platform),
        organisation=event.organisation,
    )


def of_scan(event: ScanDone) -> Use:
    """Return the use of a scan that has ended, successful or not; several platforms count for the first one."""
    return Use(
        event_id=_id(event),
        metrics=(Metric.SCANS,),
        day=event.finished.astimezone(UTC).date().isoformat(),
        architecture=_architecture(event.platform.partition(",")[0]),
        organisation=event.organisation,
    )


def of_pulls(event: ImagesPulled) -> Use:
    """Return the use of an event of pulls and cache hits."""
    counted = {
        Metric.PULLS: event.count,
        Metric.FUSION: event.count if event.fusion else 0,
        Metric.BYTES: event.bytes,
        Metric.HITS: event.hits,
    }
    return Use(
        event_id=_id(event),
        metrics=tuple(metric for metric, count in counted.items() if count),
        day=event.day,
        architecture=event.architecture,
        organisation=event.organisation,
        count=event.count,
        bytes=event.bytes,
        hits=event.hits,
    )


def _architecture(platform: str) -> str:
    return platform.partition("/")[2].partition("/")[0]


def _id(event: Message) -> str:
    """Return an id that is unique across the kinds of events."""
    return f"{event.subject}:{event.id}"
