"""What every scan tool must do: one suite for all of them."""

from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scanner.tools.protocol import DatabaseCondition, Sboms, ScanTool
from swell.store.scans import SeverityLevel
from swell.testing import rootfs
from tests.integration.scanner.examples import PACKAGES, YESTERDAY, write_layout


@pytest.fixture(scope="module")
async def sboms(tool: ScanTool, tmp_path_factory: pytest.TempPathFactory) -> Sboms:
    """Those of an image with packages of Debian, Conda, pip and R."""
    return await tool.catalogue(write_layout(tmp_path_factory.mktemp("image") / "layout", PACKAGES), "sha256:1234")


class ScanToolContract:
    """A subclass has the fixtures `tool` and `sboms` in its module, with a database of `VULNERABILITIES`."""

    # Packages that the tool finds in an image of `PACKAGES`, and some of their package URLs.
    packages = frozenset({"libdemo", "tiny", "samtools", "zlib", "requests", "dplyr"})
    urls: tuple[str, ...] = (
        "pkg:conda/samtools@1.17?build=h1_0&channel=conda-forge&subdir=linux-64&type=conda",
        "pkg:deb/debian/libdemo@1.0-1",
        "pkg:pypi/requests@2.0.0",
        "pkg:cran/dplyr@1.0.0",
    )
    # What its database says of a vulnerability.
    url, negligible = "https://vulnerabilities.example/CVE-2026-0001", "Negligible"
    epss: float | None = 0.3
    is_exploited = True

    async def test_packages_of_an_image_become_sboms(self, sboms: Sboms) -> None:
        """SPDX 2.3 and CycloneDX have each package with its package URL; Conda packages are found in any folder."""
        spdx: dict[str, Any] = msgspec.json.decode(sboms.spdx)
        cyclonedx: dict[str, Any] = msgspec.json.decode(sboms.cyclonedx)
        urls = {
            reference["referenceLocator"]
            for package in spdx["packages"]
            for reference in package.get("externalRefs", ())
            if reference["referenceType"] == "purl"
        }
        components = {component["name"]: component.get("purl", "") for component in cyclonedx["components"]}
        assert spdx["spdxVersion"] == "SPDX-2.3" and cyclonedx["bomFormat"] == "CycloneDX"
        assert self.packages <= components.keys() and sboms.packages == len(self.packages)
        for expected in self.urls:
            assert any(url.startswith(expected) for url in urls)
            assert any(url.startswith(expected) for url in components.values())

    async def test_an_sbom_is_matched(self, tool: ScanTool, sboms: Sboms) -> None:
        """Each vulnerability of a package is one finding, with the CVE as its id and the advisory as its alias."""
        match = await tool.match(sboms.native)

        findings = {finding.id: finding for finding in match.findings}
        demo, advisory = findings["CVE-2026-0001"], findings["CVE-2026-0003"]
        assert (demo.severity, demo.package, demo.version) == (SeverityLevel.HIGH, "libdemo", "1.0-1")
        assert (demo.fixed_version, demo.title) == ("1.1", "A demo in two lines.")
        assert demo.url == self.url and demo.known_since == date(2026, 11, 1)
        assert (demo.epss, demo.is_exploited) == (self.epss, self.is_exploited)
        assert (advisory.severity, advisory.aliases) == (SeverityLevel.CRITICAL, ("GHSA-aaaa-bbbb-cccc",))
        assert "GHSA-aaaa-bbbb-cccc" not in findings and len(findings) == len(match.findings)
        assert match.database.built == YESTERDAY

    async def test_negligible_counts_as_low_and_keeps_its_name(self, tool: ScanTool, sboms: Sboms) -> None:
        """Clients know four severities; a person who reads the record sees the word of the database."""
        match = await tool.match(sboms.native)

        tiny = next(finding for finding in match.findings if finding.package == "tiny")
        assert (tiny.severity, tiny.rating, tiny.fixed_version) == (SeverityLevel.LOW, self.negligible, "")

    async def test_an_image_without_packages_is_not_clean(self, tool: ScanTool, tmp_path: Path) -> None:
        """The number of packages says that nothing could be matched."""
        sboms = await tool.catalogue(write_layout(tmp_path / "empty", {"hello.txt": b"hello"}), "sha256:1234")

        assert sboms.packages == 0
        assert (await tool.match(sboms.native)).findings == ()

    async def test_names_in_an_image_are_text(self, tool: ScanTool, tmp_path: Path) -> None:
        """A package name with shell characters, and a path with a line feed, run nothing and break no line."""
        marker = tmp_path / "marker"
        hostile = rootfs.conda("opt/$(touch x)\n`id`", "lib", "1;touch /tmp/work/x", fn=f"$(touch {marker})")
        sboms = await tool.catalogue(write_layout(tmp_path / "hostile", {**PACKAGES, **hostile}), "sha256:1234")
        match = await tool.match(sboms.native)

        assert not marker.exists() and match.findings
        assert all(text.isprintable() for each in match.findings for text in (each.id, each.package, each.title))

    async def test_the_database_names_its_age(self, tool: ScanTool) -> None:
        """The age decides whether a scan counts."""
        state = await tool.database()

        assert (state.condition, state.built) == (DatabaseCondition.GOOD, YESTERDAY)
