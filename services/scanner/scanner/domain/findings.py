"""Findings: merge the names of one vulnerability, count, sort, compare."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from swell.store.scans import Finding, SeverityLevel

_ORDER = {level: number for number, level in enumerate(SeverityLevel)}
_RATINGS = {level.value: level for level in SeverityLevel} | {"NEGLIGIBLE": SeverityLevel.LOW}

Key = tuple[str, str, str, str]


def severity_of(rating: str) -> SeverityLevel:
    """The severity of a database's *rating*; `Negligible` is LOW, and an unknown word UNKNOWN."""
    return _RATINGS.get(rating.strip().upper(), SeverityLevel.UNKNOWN)


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding for each vulnerability of a package: advisories of one CVE are its aliases.

    The result has the highest severity of the merged ones, and the first title, link and fix that one of them has. Its
    `id` is the CVE, if there is one. An advisory with several CVEs is one finding. The order does not matter.
    """
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.platform, finding.package, finding.version), []).append(finding)
    return [_merged(same) for group in groups.values() for same in _same_vulnerabilities(group)]


def count(findings: Iterable[Finding]) -> dict[str, int]:
    """Return the number of findings by severity, most severe first; waived ones do not count."""
    counts = Counter(finding.severity for finding in findings if not finding.waiver)
    return {level.value: counts[level] for level in SeverityLevel if counts[level]}


def most_severe_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort *findings*: not waived first, then by severity, exploited ones first, then by package and id."""
    return sorted(
        findings,
        key=lambda each: (
            bool(each.waiver),
            _ORDER[each.severity],
            not each.is_exploited,
            each.package,
            each.id,
            each.platform,
        ),
    )


def key_of(finding: Finding) -> Key:
    """What two matches of one SBOM agree on if they have the same finding."""
    return finding.platform, finding.package, finding.version, finding.id


def added(before: Iterable[Key], after: Iterable[Finding]) -> list[Finding]:
    """Return the findings of *after* that are not in *before*, waived ones excepted."""
    known = set(before)
    return [finding for finding in after if not finding.waiver and key_of(finding) not in known]


def sum_counts(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sum of counts by severity, most severe first."""
    total = Counter[str]()
    for part in parts:
        total.update(part)
    return {level.value: total[level.value] for level in SeverityLevel if total[level.value]}


def _same_vulnerabilities(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Group findings of one package that share an id or an alias, also through others; in almost linear time.

    Source: Tarjan, "Efficiency of a Good But Not Linear Set Union Algorithm", https://doi.org/10.1145/321879.321884
    """
    parents: dict[str, str] = {}
    for finding in findings:
        for alias in finding.aliases:
            parents[_root(parents, alias)] = _root(parents, finding.id)
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(_root(parents, finding.id), []).append(finding)
    return list(groups.values())


def _root(parents: dict[str, str], name: str) -> str:
    """Return the name that stands for the group of *name*; halve the path to it."""
    while (parent := parents.setdefault(name, name)) != name:
        parents[name] = name = parents[parent]
    return name


def _merged(findings: Sequence[Finding]) -> Finding:
    ordered = sorted(findings, key=lambda each: (_ORDER[each.severity], not each.id.startswith("CVE-"), each.id))
    names = sorted(name for each in findings for name in {each.id, *each.aliases})
    identity = next((name for name in names if name.startswith("CVE-")), ordered[0].id)
    probabilities = [each.epss for each in findings if each.epss is not None]
    same_name = next((each for each in ordered if each.id == identity), ordered[0])
    return replace(
        ordered[0],
        id=identity,
        aliases=tuple(dict.fromkeys(name for name in names if name != identity)),
        title=_first(each.title for each in (same_name, *ordered)),
        url=_first(each.url for each in (same_name, *ordered)),
        fixed_version=_first(each.fixed_version for each in ordered),
        fix_state=_first(each.fix_state for each in ordered if each.fixed_version) or ordered[0].fix_state,
        epss=max(probabilities, default=None),
        is_exploited=any(each.is_exploited for each in findings),
        known_since=min((each.known_since for each in findings if each.known_since), default=None),
    )


def _first(texts: Iterable[str]) -> str:
    return next(filter(None, texts), "")
