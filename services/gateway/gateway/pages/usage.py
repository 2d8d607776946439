"""What the page of usage shows: counts per day as charts, and the totals of organisations."""

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Protocol

from msgspec import Struct

from gateway.pages.formats import size
from gateway.usage import Usage, UsageQuery

DAYS = 14
METRICS = {
    "builds": "Builds",
    "hits": "Cache hits",
    "pulls": "Pulls",
    "fusion": "Pulls with Fusion",
    "bytes": "Size of pulled images",
    "mirrors": "Mirrors",
    "scans": "Scans",
}
MOST_ORGANISATIONS = 50
_AT_ONCE = 8  # calls to the metrics service


class Counters(Protocol):
    async def usage(self, query: UsageQuery) -> Usage: ...


class Bar(Struct, frozen=True):
    """The `count` of a `day`; `x`, `y` and `height` are in percent of the chart."""

    day: date
    count: int
    x: float
    y: float
    height: float


class Chart(Struct, frozen=True):
    """The days of one metric; the highest bar has the `largest` count."""

    metric: str
    title: str
    bars: tuple[Bar, ...]
    total: int
    largest: int

    def show(self, count: int) -> str:
        """*count* with its unit, for people."""
        return shown(self.metric, count)


def shown(metric: str, count: int) -> str:
    return size(count) if metric == "bytes" else f"{count:,}"


class UsageView(Struct, frozen=True):
    """`organisations` has the totals of each one, in the order of `METRICS`; the largest are first."""

    charts: tuple[Chart, ...]
    days: tuple[date, ...]
    organisations: tuple[tuple[str, tuple[int, ...]], ...]


async def usage_view(counters: Counters, today: date, organisation: str = "") -> UsageView:
    """The usage of the last `DAYS` days until *today*, of one *organisation* or of all clients.

    Raises:
        Unavailable: the metrics service does not answer.
    """
    days = tuple(today - timedelta(days=DAYS - 1 - number) for number in range(DAYS))
    slots = asyncio.Semaphore(_AT_ONCE)

    async def count(metric: str, day: str = "", name: str = "") -> Usage:
        async with slots:
            return await counters.usage(UsageQuery(metric=metric, day=day, organisation=name))

    queries = [count(metric, day.isoformat(), organisation) for metric in METRICS for day in days]
    totals = [count(metric) for metric in METRICS]
    answers = await asyncio.gather(*queries, *totals)
    daily, all_time = answers[: len(queries)], answers[len(queries) :]
    counts = [[usage.count for usage in daily[at : at + DAYS]] for at in range(0, len(daily), DAYS)]
    charts = tuple(
        chart(metric, title, days, numbers) for (metric, title), numbers in zip(METRICS.items(), counts, strict=True)
    )
    return UsageView(charts, days, _organisations(all_time))


def chart(metric: str, title: str, days: Sequence[date], counts: Sequence[int]) -> Chart:
    """A bar for each of *days*."""
    largest, step = max(counts), 100 / len(days)
    bars = tuple(
        Bar(day, count, round(number * step, 3), round(100 - height, 2), height)
        for number, (day, count) in enumerate(zip(days, counts, strict=True))
        for height in (round(count / max(largest, 1) * 100, 2),)
    )
    return Chart(metric, title, bars, sum(counts), largest)


def _organisations(totals: Sequence[Usage]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    names = {name for usage in totals for name in usage.organisations}
    rows = [(name, tuple(usage.organisations.get(name, 0) for usage in totals)) for name in names]
    return tuple(sorted(rows, key=lambda row: (-sum(row[1]), row[0]))[:MOST_ORGANISATIONS])
