"""syft lists packages, grype matches them.

Sources: syft, https://github.com/anchore/syft; grype, https://github.com/anchore/grype
"""

from collections import deque
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from scanner.adapters.database import Unpacked, VulnerabilityDatabase
from scanner.adapters.programs import WORK, Programs, Scratch
from scanner.domain import findings as rules
from scanner.domain.failure import ScanFailure
from scanner.domain.matched_sbom import without_files
from scanner.domain.sbom import count_packages, with_conda_archives, with_conda_urls
from scanner.tools.common import check_status, not_importable, text_of, url_of
from scanner.tools.protocol import SIF_FILE, DatabaseState, Match, Sboms
from swell import programs as installed
from swell.disk import in_thread
from swell.store.scans import DatabaseInfo, Finding, ScanProblem
from swell_sandbox import SCRATCH, Mount

_SYFT, _GRYPE, _IMAGE, _DATABASE = "/scanner/syft", "/scanner/grype", "/image", "/database"
ENVIRONMENT = {
    "SYFT_CHECK_FOR_APP_UPDATE": "false",
    "GRYPE_CHECK_FOR_APP_UPDATE": "false",
    "GRYPE_DB_AUTO_UPDATE": "false",
    "GRYPE_DB_VALIDATE_AGE": "false",  # the scanner checks the age itself, and says so
    "GRYPE_DB_CACHE_DIR": _DATABASE,
}
"""The settings of syft and grype."""
_CATALOGUERS = "+conda-meta-cataloger"  # by default, syft skips conda-meta in images
# The files move to where `Scratch.open` can read them without following a link.
_AFTER_IMPORT = f"""\
cd {WORK}
{_GRYPE} db status -o json > status.json
mv db/6/vulnerability.db db/6/import.json .
"""


class Anchore:
    """See `ScanTool`."""

    family = "syft"

    def __init__(self, programs: Programs, syft: Path, grype: Path, database: VulnerabilityDatabase, name: str) -> None:
        self._programs = programs
        self._syft = Mount(syft, _SYFT)
        self._grype = Mount(grype, _GRYPE)
        self._database = database
        self.name = name

    async def catalogue(self, layout: Path, name: str) -> Sboms:
        lines: deque[str] = deque(maxlen=100)
        async with self._programs.scratch(lines) as scratch:
            is_sif = (layout / SIF_FILE).is_file()
            source = f"singularity:{_IMAGE}/{SIF_FILE}" if is_sif else f"oci-dir:{_IMAGE}"
            listing = (_SYFT, "scan", source, "--select-catalogers", _CATALOGUERS, "--source-name", name)
            output = ("--output", f"syft-json={WORK}/syft.json")
            status, last = await scratch.run((*listing, *output), (self._syft, Mount(layout, _IMAGE)), ENVIRONMENT)
            check_status("syft", status, last)
            complete = await in_thread(with_conda_urls, scratch.read("syft.json"))
            (scratch.directory / "sbom.json").write_bytes(complete)
            formats = f"spdx-json@2.3={WORK}/spdx.json", f"cyclonedx-json={WORK}/cyclonedx.json"
            converting = (_SYFT, "convert", f"{SCRATCH}/sbom.json", "--output", formats[0], "--output", formats[1])
            status, last = await scratch.run(converting, (self._syft,), ENVIRONMENT)
            check_status("syft", status, last)
            spdx, cyclonedx = scratch.read("spdx.json"), scratch.read("cyclonedx.json")
            spdx, cyclonedx = await in_thread(with_conda_archives, complete, spdx, cyclonedx)
            native = await in_thread(without_files, complete)
            return Sboms(native=native, spdx=spdx, cyclonedx=cyclonedx, packages=self.count_packages(native))

    def count_packages(self, sbom: bytes) -> int:
        return count_packages(sbom)

    async def match(self, sbom: bytes) -> Match:
        async with self._database.usable() as folder, self._programs.scratch() as scratch:
            (scratch.directory / "sbom.json").write_bytes(sbom)
            matching = (_GRYPE, f"sbom:{SCRATCH}/sbom.json", "--output", "json", "--file", f"{WORK}/report.json")
            status, last = await scratch.run(matching, (self._grype, Mount(folder, _DATABASE)), ENVIRONMENT)
            if status:
                await self._database.suspect()
            check_status("grype", status, last)
            report = scratch.read("report.json")
        findings, database = await in_thread(parse_report, report)
        return Match(findings=findings, report=report, database=database)

    async def database(self) -> DatabaseState:
        return await self._database.state()


def find_programs() -> tuple[Path, Path] | None:
    """Return the paths of syft and grype; None if they are not installed."""
    found = installed.find("scanners", "syft", "grype")
    return (found[0], found[1]) if found else None


class GrypeUnpacker:
    """See `Unpacker`; grype itself imports the database."""

    folder, files = "6", ("vulnerability.db", "import.json")

    def __init__(self, grype: Path) -> None:
        self._grype = Mount(grype, _GRYPE)

    async def unpack(self, scratch: Scratch, path: Path) -> Unpacked:
        name = "import.db" if path.suffix == ".db" else "".join(("import", *path.suffixes[-2:]))
        environment = ENVIRONMENT | {"GRYPE_DB_CACHE_DIR": f"{WORK}/db"}
        mounts = self._grype, Mount(path, f"/{name}")
        status, lines = await scratch.run((_GRYPE, "db", "import", f"/{name}"), mounts, environment)
        if status == 0:
            status, lines = await scratch.run(("sh", "-ec", _AFTER_IMPORT), (self._grype,), environment)
        if status:
            raise not_importable(path, "; ".join(lines[-3:]))
        try:
            database = msgspec.json.decode(scratch.read("status.json"), type=_DatabaseStatus)
        except msgspec.MsgspecError as error:
            raise not_importable(path, "it has no date") from error
        return Unpacked(database.built, database.schema_version)


class _DatabaseStatus(Struct, rename="camel"):
    built: datetime
    schema_version: str = ""


class _Available(Struct):
    day: date | None = field(default=None, name="date")


class _Fix(Struct):
    versions: tuple[str, ...] | None = None
    state: str = ""
    available: tuple[_Available, ...] = ()


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
        id=text_of(vulnerability.id),
        severity=rules.severity_of(vulnerability.severity),
        rating=text_of(vulnerability.severity),
        package=text_of(artifact.name),
        version=text_of(artifact.version),
        package_type=text_of(artifact.type),
        package_url=text_of(artifact.purl),
        fixed_version=text_of(", ".join(vulnerability.fix.versions or ())),
        fix_state=text_of(vulnerability.fix.state),
        title=text_of(
            vulnerability.description or next((each.description for each in related if each.description), "")
        ),
        url=url_of(url),
        aliases=tuple(dict.fromkeys(text_of(each.id) for each in related if each.id != vulnerability.id)),
        epss=max((each.epss for each in vulnerability.epss), default=None),
        is_exploited=bool(vulnerability.known_exploited),
        known_since=min((each.day for each in vulnerability.fix.available if each.day), default=None),
    )
