"""Usage: what can be asked, and what is answered."""

import pytest

from gateway.usage import UsageQuery, parse_usage_query
from swell.errors import BadRequest


def test_nothing_but_a_metric_is_a_question() -> None:
    """An empty parameter is as good as none: clients build their queries from forms."""
    assert (
        parse_usage_query("pulls", None, None, None)
        == parse_usage_query("pulls", "", "", "")
        == UsageQuery(metric="pulls")
    )


@pytest.mark.parametrize("day", ["2026-11-23", "2024-02-29", "0001-01-01"])
def test_a_day_of_the_calendar_is_understood(day: str) -> None:
    """Leap days included."""
    assert parse_usage_query("pulls", day, None, None).day == day


@pytest.mark.parametrize(
    "day",
    [
        "2026-3-1",
        "2026-02-29",
        "2026-13-01",
        "2026-00-10",
        "20260301",
        "2026-W10-1",
        "today",
        "2026-03-01 ",
        "٢٠٢٦-٠٣-٠١",
    ],
)
def test_what_is_no_day_is_refused(day: str) -> None:
    """Nothing was ever counted on such a day, so zero would mislead."""
    with pytest.raises(BadRequest, match="yyyy-MM-dd"):
        parse_usage_query("pulls", day, None, None)


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("amd64", "amd64"),
        ("x86_64", "amd64"),
        ("x86-64", "amd64"),
        ("arm64", "arm64"),
        ("aarch64", "arm64"),
        ("arm", "arm64"),
    ],
)
def test_an_architecture_has_many_names(name: str, architecture: str) -> None:
    """Those that Wave's clients know, and what they mean there."""
    assert parse_usage_query("pulls", None, None, name).architecture == architecture


@pytest.mark.parametrize("name", ["riscv", "AMD64", "linux/amd64", " "])
def test_another_architecture_is_refused_with_those_that_there_are(name: str) -> None:
    """The message lists the supported names."""
    with pytest.raises(BadRequest, match="amd64, x86_64, x86-64, arm64, aarch64, arm"):
        parse_usage_query("pulls", None, None, name)
