"""Timestamps of log lines, to the nanosecond.

Source: RFC 3339; Kubernetes writes them with up to nine digits, and leaves out zeros at the end.
"""

import re
from datetime import UTC, datetime
from typing import NamedTuple

_FORM = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


class Timestamp(NamedTuple):
    """An instant: whole seconds, in UTC, and nanoseconds."""

    second: datetime
    nanoseconds: int

    def seconds_ago(self, now: datetime) -> int:
        """How long ago it was, rounded up; at least one."""
        return max(1, int((now - self.second).total_seconds()) + 1)


EARLIEST = Timestamp(datetime.min.replace(tzinfo=UTC), 0)


def parse_timestamp(text: str) -> Timestamp:
    """Read a timestamp; what is none counts as the earliest, for nobody shall miss a line after it."""
    found = _FORM.fullmatch(text)
    if not found:
        return EARLIEST
    second = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00")).astimezone(UTC)
    return Timestamp(second, int((found[2] or "").ljust(9, "0")))
