"""Counting what happened, each event once."""

from enum import StrEnum
from typing import Protocol

from swell.jobs.messages import BuildDone, ImagesPulled


class Metric(StrEnum):
    BUILDS = "builds"
    PULLS = "pulls"


class Counters(Protocol):
    async def add(self, event_id: str, metric: Metric, day: str, count: int) -> bool:
        """Add *count* to *metric* on *day* (UTC, 2026-11-23) unless this event was counted before."""

    async def total(self, metric: Metric, day: str | None) -> int:
        """What was counted on *day*, or ever."""


class Counting:
    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def build_done(self, event: BuildDone, _attempt: int) -> None:
        await self._counters.add(event.id, Metric.BUILDS, event.finished.date().isoformat(), 1)

    async def images_pulled(self, event: ImagesPulled, _attempt: int) -> None:
        await self._counters.add(event.id, Metric.PULLS, event.day, event.count)

    async def total(self, metric: Metric, day: str | None) -> int:
        return await self._counters.total(metric, day)
