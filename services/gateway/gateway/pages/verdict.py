"""What a scan found, in words and as the parts of a bar."""

from collections.abc import Mapping

from msgspec import Struct

from swell.api.scans import ScanRecord, VulnerabilityRecord
from swell.store.scans import ScanProblem, SeverityLevel

MOST_ROWS = 150

_PROBLEMS: dict[str, str] = {
    ScanProblem.IMAGE: "The image cannot be read, or is too large.",
    ScanProblem.BUILD: "The build of the image failed, so there is nothing to scan.",
    ScanProblem.TOOL: "A program of the scanner failed.",
    ScanProblem.TIMED_OUT: "The scan took longer than it may take.",
    ScanProblem.MEMORY: "The scan needed more memory than it may use.",
    ScanProblem.DISK: "The scanner has no disk space left.",
    ScanProblem.DATABASE_MISSING: "The scanner has no vulnerability database.",
    ScanProblem.DATABASE_OLD: "The vulnerability database is too old.",
    ScanProblem.DATABASE_DAMAGED: "The vulnerability database is damaged.",
    ScanProblem.GIVEN_UP: "No scanner could run this scan.",
}


class Part(Struct, frozen=True):
    """A severity with its `count`; `start` and `width` are percentages of the bar."""

    level: str
    count: int
    start: float
    width: float


class Judgement(Struct, frozen=True):
    """`tone` is `good`, `warn`, `bad` or `wait`; `title` and `text` say what it means."""

    tone: str
    title: str
    text: str


def parts(counts: Mapping[str, int]) -> tuple[Part, ...]:
    """The severities in *counts*, most severe first."""
    total, start, listed = sum(counts.values()) or 1, 0.0, list[Part]()
    for level in SeverityLevel:
        if count := counts.get(level.value, 0):
            width = count / total * 100
            listed.append(Part(level.value, count, round(start, 2), round(width, 2)))
            start += width
    return tuple(listed)


def judgement(record: ScanRecord) -> Judgement:
    """What *record* means for a user of the image. A scan that knows nothing is not good."""
    if record.status == "PENDING":
        return Judgement("wait", "The scan is running", "The result appears here when it is there.")
    if record.problem:
        cause = _PROBLEMS.get(record.problem, "The scan failed.")
        return Judgement("bad", "Nothing is known about this image", cause)
    if not record.packages:
        return Judgement("warn", "Nothing is known about this image", "No packages were found in it.")
    counts = record.counts or {}
    if not counts:
        return Judgement("good", "No known vulnerabilities", f"All {record.packages} packages were looked up.")
    text = f"{_listed(counts)} in {record.packages} packages{_fixable(record)}."
    if counts.keys() & {"CRITICAL", "HIGH"}:
        return Judgement("bad", "Serious vulnerabilities are known", text)
    if "MEDIUM" in counts:
        return Judgement("warn", "Vulnerabilities of medium severity are known", text)
    return Judgement("good", "Only minor vulnerabilities are known", text)


def ordered(record: ScanRecord) -> list[VulnerabilityRecord]:
    """The findings: those with a fix first, then the most severe ones."""
    levels = [level.value for level in SeverityLevel]
    return sorted(
        record.vulnerabilities,
        key=lambda each: (
            not each.fixed_version,
            levels.index(each.severity) if each.severity in levels else 9,
            each.id,
        ),
    )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(
        f"{counts[level.value]} {level.value.lower()}" for level in SeverityLevel if counts.get(level.value)
    )


def _fixable(record: ScanRecord) -> str:
    """Of how many of the listed findings a newer version is not affected."""
    listed = len(record.vulnerabilities)
    fixable = sum(1 for each in record.vulnerabilities if each.fixed_version)
    if not listed:
        return ""
    of = "them" if listed == sum((record.counts or {}).values()) else f"the {listed} most severe"
    return f"; newer versions fix {fixable} of {of}" if fixable else f"; no version fixes any of {of}"
