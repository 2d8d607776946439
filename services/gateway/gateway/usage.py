"""Usage metrics for operators.

Source: Wave API reference, "Metrics", https://docs.seqera.io/wave/api
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
    """How often `metric` was counted: on a `day` (UTC, yyyy-MM-dd), by an `organisation`, for an `architecture`.

    An empty field does not restrict the count.
    """

    metric: str
    day: str = ""
    organisation: str = ""
    architecture: str = ""


class Usage(Struct, frozen=True):
    """`count` is the total, including anonymous use; `organisations` are the counts of single organisations."""

    count: int
    organisations: Mapping[str, int]


@runtime_checkable
class Counters(Protocol):
    async def usage(self, query: UsageQuery) -> Usage: ...


def parse_usage_query(metric: str, day: str | None, organisation: str | None, architecture: str | None) -> UsageQuery:
    """Parse the parameters of a request; an empty one is ignored.

    Raises:
        BadRequest: the day or the architecture is invalid.
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
