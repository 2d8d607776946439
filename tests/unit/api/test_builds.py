"""Durations as clients read them."""

import re
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell.api.builds import seconds


@pytest.mark.row("S7", "S8")
@given(st.timedeltas(timedelta(0), timedelta(days=10_000)) | st.timedeltas(timedelta(0), timedelta(seconds=1)))
def test_a_duration_has_a_point_and_no_exponent(duration: timedelta) -> None:
    """The command line takes a whole number for nanoseconds, and breaks at an exponent."""
    assert re.fullmatch(rb"\d+\.\d+", msgspec.json.encode(seconds(duration)))
