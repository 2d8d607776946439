"""What a scan means, in words and as a bar."""

from datetime import UTC, datetime

import pytest

from gateway.pages.verdict import judgement, ordered, parts
from swell.api.scans import ScanRecord, VulnerabilityRecord
from swell.store.scans import ScanProblem

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def finding(name: str, severity: str, fixed: str = "") -> VulnerabilityRecord:
    return VulnerabilityRecord(
        id=name, severity=severity, title="", pkg_name="p", installed_version="1", fixed_version=fixed, primary_url=""
    )


def record(**fields: object) -> ScanRecord:
    known = {"id": "sc-1_1", "container_image": "a/b:1", "start_time": NOON, "status": "SUCCEEDED", "packages": 9}
    return ScanRecord(**known | fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "tone", "words"),
    [
        ({"status": "PENDING"}, "wait", "running"),
        ({"counts": {}}, "good", "No known"),
        ({"counts": {}, "packages": 0}, "warn", "Nothing is known"),
        ({"counts": {"LOW": 1}}, "good", "minor"),
        ({"counts": {"LOW": 1, "MEDIUM": 2}}, "warn", "medium"),
        ({"counts": {"HIGH": 1}}, "bad", "Serious"),
        ({"counts": {"CRITICAL": 1, "UNKNOWN": 1}}, "bad", "Serious"),
    ],
)
def test_the_verdict_is_in_words(fields: dict[str, object], tone: str, words: str) -> None:
    """A scan that found no packages is not a good result."""
    verdict = judgement(record(**fields))
    assert verdict.tone == tone and words in verdict.title


@pytest.mark.parametrize("problem", [*ScanProblem, "a problem of a newer version"])
def test_a_failed_scan_knows_nothing(problem: str) -> None:
    """Each problem is explained, and none of them looks like a clean image."""
    verdict = judgement(record(status="FAILED", problem=problem, packages=None))
    assert verdict.tone == "bad" and verdict.text.endswith(".")


def test_fixable_findings_are_first() -> None:
    """They are those that a user can do something about; the number of them is in the verdict."""
    found = (finding("A", "CRITICAL"), finding("B", "LOW", "2"), finding("C", "HIGH", "3"))
    scan_record = record(vulnerabilities=found, counts={"CRITICAL": 1, "HIGH": 1, "LOW": 1})

    assert [each.id for each in ordered(scan_record)] == ["C", "B", "A"]
    assert judgement(scan_record).text == "1 critical, 1 high, 1 low in 9 packages; newer versions fix 2 of them."


def test_the_bar_is_full() -> None:
    """The parts of the bar follow each other, most severe first."""
    drawn = parts({"LOW": 1, "CRITICAL": 3})
    assert [(part.level, part.start, part.width) for part in drawn] == [("CRITICAL", 0, 75), ("LOW", 75, 25)]
    assert parts({}) == ()
