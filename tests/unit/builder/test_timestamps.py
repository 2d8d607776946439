"""Timestamps of log lines show which lines are new."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from builder.kubernetes.timestamps import EARLIEST, parse_timestamp


@given(st.datetimes(min_value=datetime(1970, 1, 1)), st.integers(0, 999_999_999))  # noqa: DTZ001
def test_stamps_are_ordered_as_time_is(second: datetime, nanoseconds: int) -> None:
    """However many digits are left out at the end: as texts, .1Z would come after .15Z."""
    whole = second.replace(microsecond=0)
    text = f"{whole.isoformat()}.{nanoseconds:09}".rstrip("0") + ("0Z" if not nanoseconds else "Z")

    assert parse_timestamp(text) == (whole.replace(tzinfo=UTC), nanoseconds)
    assert parse_timestamp(text) > EARLIEST


def test_time_zones_are_converted_to_utc() -> None:
    """Timestamps of different zones can be compared."""
    assert parse_timestamp("2026-11-24T13:00:00+01:00") == parse_timestamp("2026-11-24T12:00:00Z")


def test_what_is_no_stamp_is_the_earliest() -> None:
    """A line without a timestamp is written, not lost."""
    assert parse_timestamp("hello") == EARLIEST == parse_timestamp("")


def test_how_long_ago_is_rounded_up() -> None:
    """Asking for a second too many repeats a line, which is left out; asking for too few would lose one."""
    now = datetime(2026, 11, 24, 12, 0, 10, 500_000, tzinfo=timezone(timedelta(0)))
    assert parse_timestamp("2026-11-24T12:00:00.9Z").seconds_ago(now) == 11
    assert parse_timestamp("2026-11-24T12:00:20Z").seconds_ago(now) == 1
