"""trivy lists packages and matches them.

It refuses no old or damaged database by itself: `VulnerabilityDatabase` does. Its Conda cataloguer reads `conda-meta`
below `envs/` alone, and it knows no R packages, so use syft and grype for images with these.

Source: trivy, https://trivy.dev/latest/docs/
"""

from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct, field

from scanner.adapters.database import Unpacked, VulnerabilityDatabase
from scanner.adapters.programs import WORK, Programs, Scratch
from scanner.domain import findings as rules
from scanner.domain.failure import ScanFailure
from scanner.tools.common import check_status, not_importable, text_of, url_of
from scanner.tools.protocol import SIF_FILE, DatabaseState, Match, Sboms
from swell.disk import in_thread
from swell.store.scans import DatabaseInfo, Finding, ScanProblem
from swell_sandbox import SCRATCH, Mount

_TRIVY, _IMAGE, _DATABASE = "/scanner/trivy", "/image", "/database"
_OFFLINE = ("--quiet", "--cache-dir", f"{WORK}/cache", "--offline-scan", "--skip-db-update", "--skip-java-db-update")
# trivy opens its database for writing.
_MATCH = f"""\
mkdir -p {WORK}/cache && cp -R {_DATABASE}/db {WORK}/cache/db
exec {_TRIVY} sbom {" ".join(_OFFLINE)} --format json --output {WORK}/report.json {SCRATCH}/sbom.json
"""
_UNPACK = f"""\
mkdir {WORK}/unpacked
tar --extract --no-same-owner --file /import.tar.gz --directory {WORK}/unpacked
mv {WORK}/unpacked/trivy.db {WORK}/unpacked/metadata.json {WORK}
"""


class Trivy:
    """See `ScanTool`."""

    family = "trivy"

    def __init__(self, programs: Programs, trivy: Path, database: VulnerabilityDatabase, name: str) -> None:
        self._programs = programs
        self._trivy = Mount(trivy, _TRIVY)
        self._database = database
        self.name = name

    async def catalogue(self, layout: Path, name: str) -> Sboms:  # noqa: ARG002  (trivy names SBOMs itself)
        if (layout / SIF_FILE).is_file():
            raise ScanFailure(ScanProblem.TOOL, "trivy cannot read SIF files; syft can (SWELL_SCAN_TOOL=anchore).")
        mounts = self._trivy, Mount(layout, _IMAGE)
        async with self._programs.scratch() as scratch:
            for form, file in (("cyclonedx", "cyclonedx.json"), ("spdx-json", "spdx.json")):
                output = ("--format", form, "--output", f"{WORK}/{file}")
                status, lines = await scratch.run((_TRIVY, "image", *_OFFLINE, *output, "--input", _IMAGE), mounts, {})
                check_status("trivy", status, lines)
            cyclonedx, spdx = scratch.read("cyclonedx.json"), scratch.read("spdx.json")
        return Sboms(native=cyclonedx, spdx=spdx, cyclonedx=cyclonedx, packages=self.count_packages(cyclonedx))

    def count_packages(self, sbom: bytes) -> int:
        try:
            document = msgspec.json.decode(sbom, type=_CycloneDx)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise _unreadable(error) from error
        return sum(component.type == "library" for component in document.components)

    async def match(self, sbom: bytes) -> Match:
        async with self._database.usable() as folder, self._programs.scratch() as scratch:
            (scratch.directory / "sbom.json").write_bytes(sbom)
            mounts = self._trivy, Mount(folder, _DATABASE)
            status, lines = await scratch.run(("sh", "-ec", _MATCH), mounts, {})
            if status:
                await self._database.suspect()
            check_status("trivy", status, lines)
            report = scratch.read("report.json")
            state = await self._database.state()
        if state.built is None:
            raise ScanFailure(ScanProblem.DATABASE_DAMAGED, f"Not scanned: {state.message}.")
        database = DatabaseInfo(built=state.built, schema=state.schema)
        return Match(findings=await in_thread(parse_report, report), report=report, database=database)

    async def database(self) -> DatabaseState:
        return await self._database.state()


class TrivyUnpacker:
    """See `Unpacker`; the archive is a layer of the image that trivy downloads: `trivy.db` and `metadata.json`."""

    folder, files = "db", ("trivy.db", "metadata.json")

    async def unpack(self, scratch: Scratch, path: Path) -> Unpacked:
        status, lines = await scratch.run(("sh", "-ec", _UNPACK), (Mount(path, "/import.tar.gz"),), {})
        if status:
            raise not_importable(path, "; ".join(lines[-3:]))
        try:
            metadata = msgspec.json.decode(scratch.read("metadata.json"), type=_Metadata)
        except msgspec.MsgspecError as error:
            raise not_importable(path, "its metadata.json has no UpdatedAt") from error
        return Unpacked(metadata.updated_at, f"v{metadata.version}")


class _Metadata(Struct, rename="pascal"):
    updated_at: datetime
    version: int = 0


class _Component(Struct):
    type: str = ""


class _CycloneDx(Struct):
    components: tuple[_Component, ...] = ()


class _Identifier(Struct):
    purl: str = field(default="", name="PURL")


class _Vulnerability(Struct, rename="pascal"):
    id: str = field(name="VulnerabilityID")
    pkg_name: str = ""
    installed_version: str = ""
    fixed_version: str = ""
    severity: str = ""
    status: str = ""
    title: str = ""
    description: str = ""
    published_date: datetime | None = None
    url: str = field(default="", name="PrimaryURL")
    vendor_ids: tuple[str, ...] = field(default=(), name="VendorIDs")
    pkg_identifier: _Identifier = field(default_factory=_Identifier)


class _Result(Struct, rename="pascal"):
    type: str = ""
    vulnerabilities: tuple[_Vulnerability, ...] | None = None


class _Report(Struct, rename="pascal"):
    results: tuple[_Result, ...] | None = None


def parse_report(report: bytes) -> tuple[Finding, ...]:
    """Return the findings of trivy's JSON output, merged; raises `ScanFailure` if it cannot be read."""
    try:
        document = msgspec.json.decode(report, type=_Report)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _unreadable(error) from error
    return tuple(
        rules.merge(
            _finding(each, result.type) for result in document.results or () for each in result.vulnerabilities or ()
        )
    )


def _finding(found: _Vulnerability, package_type: str) -> Finding:
    return Finding(
        id=text_of(found.id),
        severity=rules.severity_of(found.severity),
        rating=text_of(found.severity),
        package=text_of(found.pkg_name),
        version=text_of(found.installed_version),
        package_type=text_of(package_type),
        package_url=text_of(found.pkg_identifier.purl),
        fixed_version=text_of(found.fixed_version),
        fix_state=text_of(found.status),
        title=text_of(found.title or found.description),
        url=url_of(found.url),
        known_since=found.published_date.date() if found.published_date else None,
        aliases=tuple(dict.fromkeys(text_of(each) for each in found.vendor_ids if each != found.id)),
    )


def _unreadable(error: Exception) -> ScanFailure:
    return ScanFailure(ScanProblem.TOOL, f"The output of trivy cannot be read: {error}.")
