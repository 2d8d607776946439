"""Findings: names of one vulnerability are merged, and everything is counted."""

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.domain.findings import added, count, key_of, merge, most_severe_first, severity_of, sum_counts
from swell.store.scans import Finding, SeverityLevel


def finding(name: str, severity: SeverityLevel = SeverityLevel.HIGH, **fields: Any) -> Finding:
    return Finding(id=name, severity=severity, **{"package": "lib", "version": "1", **fields})


@pytest.mark.parametrize(
    ("rating", "severity"),
    [
        ("Critical", SeverityLevel.CRITICAL),
        ("HIGH", SeverityLevel.HIGH),
        ("medium", SeverityLevel.MEDIUM),
        ("Low", SeverityLevel.LOW),
        ("Negligible", SeverityLevel.LOW),
        ("Unknown", SeverityLevel.UNKNOWN),
        ("", SeverityLevel.UNKNOWN),
        ("constructor", SeverityLevel.UNKNOWN),
    ],
)
def test_ratings_become_severities(rating: str, severity: SeverityLevel) -> None:
    """An unknown word is no harmless one."""
    assert severity_of(rating) is severity


def test_an_advisory_beside_its_cve_is_one_finding() -> None:
    """It has the highest severity, the CVE as its id, and what only one of the two has."""
    merged = merge(
        [
            finding("GHSA-1", SeverityLevel.MEDIUM, aliases=("CVE-1",), fixed_version="2", fix_state="fixed"),
            finding("CVE-1", SeverityLevel.CRITICAL, title="title", epss=0.1),
        ]
    )

    assert len(merged) == 1
    assert (merged[0].id, merged[0].aliases) == ("CVE-1", ("GHSA-1",))
    assert (merged[0].severity, merged[0].title, merged[0].epss) == (SeverityLevel.CRITICAL, "title", 0.1)
    assert (merged[0].fixed_version, merged[0].fix_state) == ("2", "fixed")


def test_names_are_merged_through_a_third_one() -> None:
    """A chain of aliases is one vulnerability, in any order."""
    chain = [finding("A", aliases=("B",)), finding("C", aliases=("B",)), finding("B")]

    for order in (chain, chain[::-1], [chain[1], chain[2], chain[0]]):
        assert [{each.id, *each.aliases} for each in merge(order)] == [{"A", "B", "C"}]


def test_thousands_of_findings_of_one_package_are_merged_with_few_calls() -> None:
    """A kernel has thousands; comparing each with each stops the scanner for minutes."""
    many = [finding(f"CVE-{number}", aliases=(f"A-{number // 2}",)) for number in range(2000)]
    calls = 0

    def count_call(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count_call)
    try:
        merged = merge(many)
    finally:
        sys.setprofile(None)

    assert len(merged) == 1000
    assert calls < 200 * len(many)


def test_two_packages_with_one_vulnerability_are_two_findings() -> None:
    """Each of them has to be updated; also two versions, and two platforms."""
    found = [finding("CVE-1"), finding("CVE-1", package="other"), finding("CVE-1", version="2")]
    found.append(finding("CVE-1", platform="linux/arm64"))

    assert len(merge(found)) == 4


@given(st.lists(st.tuples(st.sampled_from("ABCDEF"), st.lists(st.sampled_from("ABCDEF"), max_size=2))))
def test_merging_loses_no_name_and_repeats_none(named: list[tuple[str, list[str]]]) -> None:
    """Every name is in exactly one finding, and merging again changes nothing."""
    merged = merge([finding(name, aliases=tuple(aliases)) for name, aliases in named])

    names = [name for each in merged for name in (each.id, *each.aliases)]
    assert sorted(names) == sorted({name for each, aliases in named for name in (each, *aliases)})
    assert {each.id for each in merge(merged)} == {each.id for each in merged}


def test_counts_are_by_severity() -> None:
    """Waived findings do not count; severities without findings are left out."""
    found = [finding("1"), finding("2"), finding("3", SeverityLevel.LOW), finding("4", waiver="not used")]

    assert list(count(found).items()) == [("HIGH", 2), ("LOW", 1)]
    assert sum_counts([{"LOW": 1}, {"HIGH": 2, "LOW": 1}, {}]) == {"HIGH": 2, "LOW": 2}


def test_the_most_severe_come_first() -> None:
    """Of one severity, the exploited ones; waived ones come last."""
    found = [
        finding("waived", SeverityLevel.CRITICAL, waiver="x"),
        finding("low", SeverityLevel.LOW),
        finding("unknown", SeverityLevel.UNKNOWN),
        finding("plain"),
        finding("exploited", is_exploited=True),
    ]

    assert [each.id for each in most_severe_first(found)] == ["exploited", "plain", "low", "unknown", "waived"]


def test_what_a_new_database_adds() -> None:
    """A finding that was there, or is waived, is not new."""
    old, new = finding("CVE-1"), finding("CVE-2")

    assert added([key_of(old)], [old, new, finding("CVE-3", waiver="x")]) == [new]
