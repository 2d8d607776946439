"""Buckets of permits in memory, and a clock that is set by hand."""

from collections.abc import Callable
from math import ceil

from gateway.domain.quota import Client, Kind, Quota, Taken
from swell.errors import Unavailable


class Clock:
    """A clock that a test sets; in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class MemoryBuckets:
    """As the buckets in Redis; *questions* counts what they were asked."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.questions = 0
        self.away = False
        self._clock = clock
        self._full: dict[tuple[Kind, Client], float] = {}

    async def take(self, kind: Kind, client: Client, quota: Quota, wanted: int) -> Taken:
        self.questions += 1
        if self.away:
            raise Unavailable("the state store does not answer")
        now, step = self._clock() * 1e6, quota.step
        full = max(self._full.get((kind, client), 0), now)
        granted = min(wanted, max(quota.permits - ceil((full - now) / step), 0))
        full = self._full[kind, client] = max(full + granted * step, now)
        return Taken(granted, max(full - (quota.permits - 1) * step - now, 0) / 1e6, (full - now) / 1e6)
