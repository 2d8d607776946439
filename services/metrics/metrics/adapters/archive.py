"""The roll-ups of days, in the object store: `usage/<day>.json`, and `usage/days.json` with the list of them."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from metrics.domain.usage import Counts, Metric, Table
from swell.errors import Unavailable
from swell.store.objects import Objects

_JSON = "application/json"
_DAYS = "usage/days.json"
_ANY = "any"

T = TypeVar("T")
_Stored = dict[str, dict[str, dict[str, int]]]  # by metric, architecture and organisation


class S3Archive:
    """See `metrics.roll_up.Archive`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def days(self) -> list[str]:
        content = await self._objects.get(_DAYS)
        return _decode(content, list[str]) if content else []

    async def get(self, day: str) -> Mapping[Table, Counts]:
        if (content := await self._objects.get(_key(day))) is None:
            return {}
        return {
            Table(Metric(metric), day, None if architecture == _ANY else architecture): counts
            for metric, by_architecture in _decode(content, _Stored).items()
            for architecture, counts in by_architecture.items()
            if metric in set(Metric)
        }

    async def put(self, day: str, tables: Mapping[Table, Counts]) -> None:
        stored: _Stored = {}
        for table, counts in tables.items():
            stored.setdefault(table.metric, {})[table.architecture or _ANY] = dict(counts)
        await self._objects.put(_key(day), msgspec.json.encode(stored, order="deterministic"), _JSON)

    async def put_days(self, days: list[str]) -> None:
        await self._objects.put(_DAYS, msgspec.json.encode(sorted(days)), _JSON)


def _key(day: str) -> str:
    return f"usage/{day}.json"


def _decode(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise Unavailable(f"a roll-up of usage cannot be read: {error}") from error
