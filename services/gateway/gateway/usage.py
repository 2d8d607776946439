"""How much was used: what an operator asks, in Wave's words.

Source: Wave's public API, `/v1alpha2/metrics` and `/v1alpha3/metrics`.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Protocol, runtime_checkable

from msgspec import Struct

from swell.errors import BadRequest

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ARCHITECTURES = {
    "amd64": "amd64",
    "x86_64": "amd64",
    "x86-64": "amd64",
    "arm64": "arm64",
    "aarch64": "arm64",
    "arm": "arm64",
}


class UsageQuery(Struct, frozen=True, kw_only=True):
    """How much of *metric* on a day (UTC) or ever, by an organisation or all, for an architecture or any."""

    metric: str
    day: str = ""
    organisation: str = ""
    architecture: str = ""


class Usage(Struct, frozen=True):
    """`count` is of all that was asked for, anonymous use included; `organisations` are those who had a part in it."""

    count: int
    organisations: Mapping[str, int]


@runtime_checkable
class Counters(Protocol):
    async def usage(self, query: UsageQuery) -> Usage: ...


def parse_usage_query(metric: str, day: str | None, organisation: str | None, architecture: str | None) -> UsageQuery:
    """Understand the parameters of a query; an empty one is as good as none.

    Raises:
        BadRequest: there is no such day in the calendar, or no such architecture.
    """
    if day and not _is_day(day):
        raise BadRequest(f"date must be a day of the calendar as yyyy-MM-dd, not {day[:40]!r}")
    if architecture and architecture not in _ARCHITECTURES:
        raise BadRequest(f"unsupported arch {architecture[:40]!r}; there are {', '.join(_ARCHITECTURES)}")
    return UsageQuery(
        metric=metric,
        day=day or "",
        organisation=organisation or "",
        architecture=_ARCHITECTURES[architecture] if architecture else "",
    )


def _is_day(text: str) -> bool:
    try:
        return bool(_DAY.fullmatch(text) and date.fromisoformat(text))
    except ValueError:
        return False
