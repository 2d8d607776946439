"""syft lists packages, grype matches them.

Sources: syft, https://github.com/anchore/syft; grype, https://github.com/anchore/grype
"""

import re
from collections import deque
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from scanner.adapters.database import GrypeDatabase
from scanner.adapters.programs import WORK, Programs, printable
from scanner.domain import findings as rules
from scanner.domain.failure import ScanFailure
from scanner.domain.sbom import count_packages, with_conda_urls
from scanner.tools.protocol import DatabaseState, Match, Sboms
from swell import programs as installed
from swell.store.scans import DatabaseInfo, Finding, ScanProblem
from swell_sandbox import SCRATCH, Mount

_SYFT, _GRYPE, _IMAGE, _DATABASE = "/scanner/syft", "/scanner/grype", "/image", "/database"
_ENVIRONMENT = {
    "SYFT_CHECK_FOR_APP_UPDATE": "false",
    "GRYPE_CHECK_FOR_APP_UPDATE": "false",
    "GRYPE_DB_AUTO_UPDATE": "false",
    "GRYPE_DB_VALIDATE_AGE": "false",  # the scanner checks the age itself, and says so
    "GRYPE_DB_CACHE_DIR": _DATABASE,
}
_CATALOGUERS = "+conda-meta-cataloger"  # by default, syft skips conda-meta in images
_URL = re.compile(r"https?://[!-~]{1,2000}")
_TEXT = 500  # characters of a title


class Anchore:
    """See `ScanTool`."""

    family = "syft"

    def __init__(self, programs: Programs, syft: Path, grype: Path, database: GrypeDatabase, name: str) -> None:
        self._programs = programs
        self._syft = Mount(syft, _SYFT)
        self._grype = Mount(grype, _GRYPE)
        self._database = database
        self.name = name

    async def catalogue(self, layout: Path, name: str) -> Sboms:
        lines: deque[str] = deque(maxlen=100)
        async with self._programs.scratch(lines) as scratch:
            listing = (_SYFT, "scan", f"oci-dir:{_IMAGE}", "--select-catalogers", _CATALOGUERS, "--source-name", name)
            output = ("--output", f"syft-json={WORK}/syft.json")
            status, last = await scratch.run((*listing, *output), (self._syft, Mount(layout, _IMAGE)), _ENVIRONMENT)
            _check("syft", status, last)
            native = with_conda_urls(scratch.read("syft.json"))
            (scratch.directory / "sbom.json").write_bytes(native)
            formats = f"spdx-json@2.3={WORK}/spdx.json", f"cyclonedx-json={WORK}/cyclonedx.json"
            converting = (_SYFT, "convert", f"{SCRATCH}/sbom.json", "--output", formats[0], "--output", formats[1])
            status, last = await scratch.run(converting, (self._syft,), _ENVIRONMENT)
            _check("syft", status, last)
            return Sboms(
                native=native,
                spdx=scratch.read("spdx.json"),
                cyclonedx=scratch.read("cyclonedx.json"),
                packages=count_packages(native),
            )

    async def match(self, sbom: bytes) -> Match:
        async with self._database.usable() as folder, self._programs.scratch() as scratch:
            (scratch.directory / "sbom.json").write_bytes(sbom)
            matching = (_GRYPE, f"sbom:{SCRATCH}/sbom.json", "--output", "json", "--file", f"{WORK}/report.json")
            status, last = await scratch.run(matching, (self._grype, Mount(folder, _DATABASE)), _ENVIRONMENT)
            if status:
                await self._database.suspect()
            _check("grype", status, last)
            report = scratch.read("report.json")
        findings, database = parse_report(report)
        return Match(findings=findings, report=report, database=database)

    async def database(self) -> DatabaseState:
        return await self._database.state()


async def version_of(programs: Programs, path: Path) -> str:
    """Return the version that the program *path* prints, such as `syft 1.57.1`.

    Raises:
        ScanFailure: it does not run here.
    """
    target = f"/scanner/{path.name}"
    async with programs.scratch() as scratch:
        status, lines = await scratch.run((target, "--version"), (Mount(path, target),), _ENVIRONMENT)
    _check(path.name, status, lines)
    return lines[-1][:100] if lines else path.name


def find_programs() -> tuple[Path, Path] | None:
    """Return the paths of syft and grype; None if they are not installed."""
    found = installed.find("scanners", "syft", "grype")
    return (found[0], found[1]) if found else None


class _Fix(Struct):
    versions: tuple[str, ...] | None = None
    state: str = ""


class _Epss(Struct):
    epss: float = 0.0


class _Vulnerability(Struct, rename="camel"):
    id: str
    severity: str = ""
    data_source: str = ""
    description: str = ""
    fix: _Fix = field(default_factory=_Fix)
    epss: tuple[_Epss, ...] = ()
    known_exploited: tuple[Any, ...] = ()


class _Artifact(Struct):
    name: str
    version: str = ""
    type: str = ""
    purl: str = ""


class _Match(Struct, rename="camel"):
    vulnerability: _Vulnerability
    artifact: _Artifact
    related_vulnerabilities: tuple[_Vulnerability, ...] | None = None


class _Report(Struct):
    matches: tuple[_Match, ...]
    descriptor: dict[str, Any]


def parse_report(report: bytes) -> tuple[tuple[Finding, ...], DatabaseInfo]:
    """Return the findings of grype's JSON output, merged, and the database that it used.

    Raises:
        ScanFailure: it cannot be read, or names no database.
    """
    try:
        document = msgspec.json.decode(report, type=_Report)
        status = document.descriptor["db"]["status"]
        database = DatabaseInfo(
            built=msgspec.convert(status["built"], type=DatabaseInfo.__annotations__["built"]),
            schema=str(status.get("schemaVersion", "")),
        )
    except (msgspec.MsgspecError, RecursionError, KeyError, TypeError) as error:
        raise ScanFailure(ScanProblem.TOOL, f"The output of grype cannot be read: {error}.") from error
    return tuple(rules.merge(map(_finding, document.matches))), database


def _finding(match: _Match) -> Finding:
    vulnerability, artifact = match.vulnerability, match.artifact
    related = match.related_vulnerabilities or ()
    url = vulnerability.data_source
    return Finding(
        id=_text(vulnerability.id),
        severity=rules.severity_of(vulnerability.severity),
        rating=_text(vulnerability.severity),
        package=_text(artifact.name),
        version=_text(artifact.version),
        package_type=_text(artifact.type),
        package_url=_text(artifact.purl),
        fixed_version=_text(", ".join(vulnerability.fix.versions or ())),
        fix_state=_text(vulnerability.fix.state),
        title=_text(vulnerability.description or next((each.description for each in related if each.description), "")),
        url=url if _URL.fullmatch(url) else "",
        aliases=tuple(dict.fromkeys(_text(each.id) for each in related if each.id != vulnerability.id)),
        epss=max((each.epss for each in vulnerability.epss), default=None),
        is_exploited=bool(vulnerability.known_exploited),
    )


def _text(value: str) -> str:
    return printable(" ".join(value[: 2 * _TEXT].split()))[:_TEXT]


def _check(program: str, status: int, lines: list[str]) -> None:
    if status:
        reason = "; ".join(line for line in lines[-3:] if line) or "no output"
        raise ScanFailure(ScanProblem.TOOL, f"{program} ended with status {status}: {reason}", status)
