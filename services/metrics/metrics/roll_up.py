"""Roll-ups of days, and the repair of counters from them and from the events in the stream.

A day is *certain* when the stream has all its events: these are the truth then. Of an earlier day, the larger count is
right, because counts only grow: that of Redis or that of its roll-up. Totals are the sums of all days.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from msgspec import Struct

from metrics.count import Counters
from metrics.domain.usage import Counts, Table, Use, tables, tables_of_day

OpenEvents = Callable[[], AsyncIterator[Use]]


class Archive(Protocol):
    """The roll-ups. Raises `Unavailable`: every method, when the object store does not answer."""

    async def days(self) -> list[str]:
        """Return the days that have a roll-up."""

    async def get(self, day: str) -> Mapping[Table, Counts]:
        """Return the tables of *day*; empty without a roll-up."""

    async def put(self, day: str, tables: Mapping[Table, Counts]) -> None: ...

    async def put_days(self, days: list[str]) -> None: ...


class Difference(Struct, frozen=True):
    """What is to be added to the counts in `table`, by organisation."""

    table: Table
    counts: Mapping[str, int]


class RollUp:
    """Stores the tables of days, and finds and repairs differences.

    *events* opens the events in the stream, oldest first; *last_uncertain* is the last day of which it may lack some.
    """

    def __init__(self, counters: Counters, archive: Archive, events: OpenEvents, last_uncertain: str) -> None:
        self._counters = counters
        self._archive = archive
        self._events = events
        self._last_uncertain = last_uncertain

    async def store(self, today: str) -> None:
        """Store a roll-up of *today* and of each day whose roll-up is missing or older than its counts."""
        archived = set(await self._archive.days())
        for day in await self._counters.days():
            tables = await self._stored(day)
            if day == today or day not in archived or await self._archive.get(day) != tables:
                await self._archive.put(day, tables)
        await self._archive.put_days(sorted(archived | set(await self._counters.days())))

    async def repair(self) -> list[Difference]:
        """Count what was not counted, correct wrong counts, and return the corrections."""
        async for use in self._events():
            await self._counters.add(use)
        found = await self.differences()
        for each in found:
            await self._counters.adjust(each.table, each.counts)
        return found

    async def differences(self) -> list[Difference]:
        """Return what the counters lack; a negative count is one too many.

        Events that arrive meanwhile are no difference: a count is too high if it was before the events were read, and
        too low if it is still after that.
        """
        before = await self._read()
        counted: dict[Table, Counter[str]] = {}
        seen = set[str]()
        async for use in self._events():
            if use.event_id not in seen:
                seen.add(use.event_id)
                for table in tables(use):
                    counted.setdefault(table, Counter()).update(dict.fromkeys(use.fields, use.amount(table.metric)))
        after = await self._read()
        archived: dict[Table, Counts] = {}
        for day in await self._archive.days():
            archived |= await self._archive.get(day)
        least, most = (self._right(stored, archived, counted) for stored in (before, after))
        found = [
            _difference(
                table, least.get(table, Counter()) - Counter(after.get(table, {})), _excess(before, most, table)
            )
            for table in sorted(most, key=str)
        ]
        return [each for each in found if each.counts]

    def _right(
        self, stored: Mapping[Table, Counts], archived: Mapping[Table, Counts], counted: Mapping[Table, Counter[str]]
    ) -> dict[Table, Counter[str]]:
        """Return the right counts of every table, if *stored* is in Redis, and *counted* are all events."""
        right = {table._replace(day=None): Counter[str]() for table in tables_of_day("")}
        days = {table.day for table in (*stored, *archived, *counted) if table.day}
        for table in (table for day in days for table in tables_of_day(day)):
            counts = counted.get(table, Counter())
            if (table.day or "") <= self._last_uncertain:
                counts = counts | Counter(stored.get(table, {})) | Counter(archived.get(table, {}))
            right[table] = counts
            right[table._replace(day=None)].update(counts)
        return right

    async def _read(self) -> dict[Table, Counts]:
        """Return the tables of every day, and of all days together, as they are in Redis."""
        totals = [table._replace(day=None) for table in tables_of_day("")]
        read = {table: await self._counts(table) for table in totals}
        for day in await self._counters.days():
            read |= await self._stored(day)
        return read

    async def _stored(self, day: str) -> dict[Table, Counts]:
        stored = {table: await self._counts(table) for table in tables_of_day(day)}
        return {table: counts for table, counts in stored.items() if counts}

    async def _counts(self, table: Table) -> Counts:
        total, by_organisation = await self._counters.of_all(table)
        return {**by_organisation, "": total} if total or by_organisation else {}


def _excess(before: Mapping[Table, Counts], right: Mapping[Table, Counter[str]], table: Table) -> Counter[str]:
    return Counter(before.get(table, {})) - right[table]


def _difference(table: Table, missing: Counter[str], excess: Counter[str]) -> Difference:
    missing.subtract(excess)
    return Difference(table, {name: count for name, count in sorted(missing.items()) if count})
