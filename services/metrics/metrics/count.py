"""Counting what happened, each event once, and telling how much it was."""

from collections.abc import Mapping
from datetime import UTC
from typing import Protocol

from metrics.domain.usage import Metric, Table, Usage, Use
from swell.jobs.messages import BuildDone, ImagesPulled, Message


class Counters(Protocol):
    async def add(self, use: Use) -> bool:
        """Count *use* in all of its tables at once, unless its event was counted before."""

    async def of_one(self, table: Table, organisation: str) -> int: ...

    async def of_all(self, table: Table) -> tuple[int, Mapping[str, int]]:
        """The number of all, anonymous use included, and that of each organisation."""


class Counting:
    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def build_done(self, event: BuildDone, _attempt: int) -> None:
        if use := of_build(event):
            await self._counters.add(use)

    async def images_pulled(self, event: ImagesPulled, _attempt: int) -> None:
        await self._counters.add(of_pulls(event))

    async def usage(self, table: Table, organisation: str = "") -> Usage:
        """What was counted in *table*, of all or of one *organisation*; one that nobody knows has used nothing."""
        if organisation:
            count = await self._counters.of_one(table, organisation)
            return Usage(count, {organisation: count})
        return Usage(*await self._counters.of_all(table))


def of_build(event: BuildDone) -> Use | None:
    """A build counts when and because it has ended, well or not; one that was found in the cache never ends.

    An index of several platforms is no build: those of its platforms were.
    """
    if "," in event.platform:
        return None
    day = event.finished.astimezone(UTC).date().isoformat()
    return Use(
        event_id=_id(event),
        metrics=(Metric.BUILDS,),
        day=day,
        architecture=_architecture(event.platform),
        organisation=event.organisation,
    )


def of_pulls(event: ImagesPulled) -> Use:
    return Use(
        event_id=_id(event),
        metrics=(Metric.PULLS, Metric.FUSION) if event.fusion else (Metric.PULLS,),
        day=event.day,
        architecture=event.architecture,
        organisation=event.organisation,
        count=event.count,
    )


def _architecture(platform: str) -> str:
    return platform.partition("/")[2].partition("/")[0]


def _id(event: Message) -> str:
    """Two kinds of events may use one id."""
    return f"{event.subject}:{event.id}"
