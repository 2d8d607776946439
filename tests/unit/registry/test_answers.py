"""What a refusal means, and when to come back."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell.errors import Denied, ManifestUnknown, SwellError, TooManyRequests, UpstreamFailed
from swell.registry.responses import LONGEST_WAIT, failure, retry_after_of


@pytest.mark.parametrize(
    ("status", "header", "error", "retry_after"),
    [
        (401, "7", Denied, None),
        (403, None, Denied, None),
        (404, "7", ManifestUnknown, None),
        (429, "7", TooManyRequests, 7),
        (429, None, TooManyRequests, 60),
        (500, None, UpstreamFailed, None),
        (503, "7", UpstreamFailed, 7),
        (418, "7", UpstreamFailed, None),
    ],
)
def test_an_answer_is_an_error_of_ours(
    status: int, header: str | None, error: type[SwellError], retry_after: int | None
) -> None:
    """The error has `retry_after` if a retry is useful."""
    found = failure(status, {"Retry-After": header} if header else {}, "it", ManifestUnknown)

    assert (type(found), found.retry_after) == (error, retry_after)


@pytest.mark.parametrize(
    ("header", "expected"),
    [("7", 7), (" 7 ", 7), ("0", 1), ("9" * 5000, LONGEST_WAIT), ("soon", None), ("-1", None), ("", None)],
)
def test_seconds_are_taken_within_reason(header: str, expected: int | None) -> None:
    """A wild value must not lock a client out for a day."""
    assert retry_after_of({"Retry-After": header}) == expected


def test_a_date_is_as_good_as_seconds() -> None:
    """RFC 9110 has both."""
    soon = datetime.now(UTC) + timedelta(seconds=50)

    assert retry_after_of({"Retry-After": format_datetime(soon, usegmt=True)}) in range(40, 51)
    assert retry_after_of({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 1


@given(st.text())
def test_nonsense_is_no_time(header: str) -> None:
    """A header with any value gives seconds or None."""
    found = retry_after_of({"Retry-After": header})

    assert found is None or 1 <= found <= LONGEST_WAIT
