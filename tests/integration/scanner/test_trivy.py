"""trivy, with a stand-in program that prints recorded output: commands, database and findings.

The recorded output has the shape of trivy's JSON report: `Results[].Vulnerabilities[]`.
"""

import io
import json
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scanner.adapters.database import VulnerabilityDatabase
from scanner.adapters.programs import Programs
from scanner.domain.failure import ScanFailure
from scanner.tools.protocol import DatabaseCondition
from scanner.tools.trivy import Trivy, TrivyUnpacker, parse_report
from swell.store.scans import ScanProblem, SeverityLevel
from tests.integration.scanner.examples import PACKAGES, write_layout

REPORT: dict[str, Any] = {
    "SchemaVersion": 2,
    "Results": [
        {
            "Target": "image (debian 12)",
            "Class": "os-pkgs",
            "Type": "debian",
            "Vulnerabilities": [
                {
                    "VulnerabilityID": "CVE-2026-0001",
                    "VendorIDs": ["DSA-1"],
                    "PkgName": "libdemo",
                    "PkgIdentifier": {"PURL": "pkg:deb/debian/libdemo@1.0-1?distro=debian-12"},
                    "InstalledVersion": "1.0-1",
                    "FixedVersion": "1.1",
                    "Status": "fixed",
                    "Severity": "HIGH",
                    "Title": "A demo\nin two lines.",
                    "PrimaryURL": "https://avd.example/cve-2026-0001",
                },
                {
                    "VulnerabilityID": "CVE-2026-0002",
                    "PkgName": "tiny",
                    "InstalledVersion": "2.0",
                    "Status": "affected",
                    "Severity": "LOW",
                    "PrimaryURL": "javascript:alert(1)",
                },
            ],
        },
        {"Target": "Python", "Class": "lang-pkgs", "Type": "python-pkg"},
    ],
}
CYCLONEDX = {
    "bomFormat": "CycloneDX",
    "components": [{"type": "operating-system", "name": "debian"}, {"type": "library", "name": "libdemo"}],
}
YESTERDAY = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


def write_program(folder: Path) -> Path:
    """A trivy that refuses unexpected arguments and needs what the real one needs; it prints the recorded output."""
    path = folder / "trivy"
    path.write_text(f"""#!/bin/sh
set -e
kind=$1 output= format= input= cache=
while [ $# -gt 0 ]; do
    case "$1" in
    --output) output=$2; shift ;; --format) format=$2; shift ;; --input) input=$2; shift ;;
    --cache-dir) cache=$2; shift ;; --version) echo "Version: 0.74.0"; exit ;;
    image|sbom|--quiet|--offline-scan|--skip-db-update|--skip-java-db-update) ;;
    /tmp/sbom.json) input=$1 ;;
    *) echo "unknown argument $1" >&2; exit 1 ;;
    esac
    shift
done
case "$kind $format" in
"image cyclonedx") test -f "$input/index.json"; printf '%s' '{json.dumps(CYCLONEDX)}' > "$output" ;;
"image spdx-json") test -f "$input/index.json"; printf '%s' '{{"spdxVersion": "SPDX-2.3"}}' > "$output" ;;
"sbom json")
    grep -q '"CycloneDX"' "$input"
    echo >> "$cache/db/trivy.db"
    if grep -q broken "$cache/db/trivy.db"; then echo "panic: unexpected fault address" >&2; exit 2; fi
    printf '%s' '{json.dumps(REPORT)}' > "$output" ;;
*) echo "unknown command $kind $format" >&2; exit 1 ;;
esac
""")
    path.chmod(0o755)
    return path


def write_archive(path: Path, updated: datetime, content: bytes = b"bolt", *, metadata: bytes | None = None) -> Path:
    fields = {"Version": 2, "NextUpdate": updated.isoformat(), "UpdatedAt": updated.isoformat()}
    files = {"trivy.db": content, "metadata.json": metadata or json.dumps(fields).encode()}
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def database(programs: Programs, tmp_path: Path) -> VulnerabilityDatabase:
    return VulnerabilityDatabase(tmp_path / "database", programs, TrivyUnpacker(), timedelta(days=5), 1 << 30)


@pytest.fixture
def tool(programs: Programs, database: VulnerabilityDatabase, tmp_path: Path) -> Trivy:
    return Trivy(programs, write_program(tmp_path), database, "trivy 0.74.0")


async def test_an_image_is_catalogued_and_matched(tool: Trivy, database: VulnerabilityDatabase, tmp_path: Path) -> None:
    """Its own SBOM is matched again; the operating system is no package."""
    await database.import_file(write_archive(tmp_path / "db.tar.gz", YESTERDAY), "test")
    sboms = await tool.catalogue(write_layout(tmp_path / "image", PACKAGES), "sha256:1234")

    match = await tool.match(sboms.native)

    assert (sboms.packages, json.loads(sboms.spdx)["spdxVersion"]) == (1, "SPDX-2.3")
    assert [(each.id, each.severity) for each in match.findings] == [
        ("CVE-2026-0001", SeverityLevel.HIGH),
        ("CVE-2026-0002", SeverityLevel.LOW),
    ]
    assert (match.database.built, match.database.schema) == (YESTERDAY, "v2")


def test_a_report_has_the_same_findings_as_one_of_grype() -> None:
    """Texts are one line, links are links, and a package without a fix has none."""
    demo, tiny = parse_report(json.dumps(REPORT).encode())

    assert (demo.package, demo.version, demo.fixed_version, demo.fix_state) == ("libdemo", "1.0-1", "1.1", "fixed")
    assert (demo.title, demo.aliases) == ("A demo in two lines.", ("DSA-1",))
    assert demo.package_url == "pkg:deb/debian/libdemo@1.0-1?distro=debian-12"
    assert (tiny.url, tiny.fixed_version) == ("", "")


@pytest.mark.parametrize("report", [b"", b"[]", b'{"Results": [{"Vulnerabilities": [{}]}]}'])
def test_a_report_that_cannot_be_read_is_no_clean_image(report: bytes) -> None:
    """A result without findings would be one."""
    with pytest.raises(ScanFailure, match="cannot be read"):
        parse_report(report)


async def test_an_old_database_is_not_used(tool: Trivy, database: VulnerabilityDatabase, tmp_path: Path) -> None:
    """trivy itself would find nothing, and end with status 0."""
    await database.import_file(write_archive(tmp_path / "db.tar.gz", YESTERDAY - timedelta(days=400)), "old")

    with pytest.raises(ScanFailure, match="401 days old") as failure:
        await tool.match(json.dumps(CYCLONEDX).encode())

    assert failure.value.problem is ScanProblem.DATABASE_OLD


async def test_a_crash_is_no_clean_image(tool: Trivy, database: VulnerabilityDatabase, tmp_path: Path) -> None:
    """trivy panics with a truncated database."""
    await database.import_file(write_archive(tmp_path / "db.tar.gz", YESTERDAY, b"broken"), "test")

    with pytest.raises(ScanFailure, match="trivy ended with status 2: panic") as failure:
        await tool.match(json.dumps(CYCLONEDX).encode())

    assert failure.value.problem is ScanProblem.TOOL


async def test_a_database_without_a_date_is_refused(database: VulnerabilityDatabase, tmp_path: Path) -> None:
    """Its age would not be known."""
    with pytest.raises(ScanFailure, match="UpdatedAt"):
        await database.import_file(write_archive(tmp_path / "db.tar.gz", YESTERDAY, metadata=b"{}"), "test")

    assert (await database.state()).condition is DatabaseCondition.MISSING
