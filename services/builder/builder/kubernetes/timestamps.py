"""Timestamps of log lines, with nanoseconds. Kubernetes writes up to nine digits and omits trailing zeros.

Source: RFC 3339, section 5.6, https://www.rfc-editor.org/rfc/rfc3339#section-5.6
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
        """Return the seconds between it and *now*, rounded up; at least one."""
        return max(1, int((now - self.second).total_seconds()) + 1)


EARLIEST = Timestamp(datetime.min.replace(tzinfo=UTC), 0)


def parse_timestamp(text: str) -> Timestamp:
    """Read a timestamp; an invalid one counts as the earliest, so that no later line is skipped."""
    match = _FORM.fullmatch(text)
    if not match:
        return EARLIEST
    second = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).astimezone(UTC)
    return Timestamp(second, int((match[2] or "").ljust(9, "0")))
