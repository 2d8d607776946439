"""syft and grype keep the contract."""

from collections import deque
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scanner.adapters.database import VulnerabilityDatabase
from scanner.adapters.programs import Programs
from scanner.domain.failure import ScanFailure
from scanner.tools.anchore import ENVIRONMENT, Anchore, GrypeUnpacker
from scanner.tools.common import version_of
from scanner.tools.protocol import Sboms, ScanTool
from swell.store.scans import ScanProblem
from swell.testing import rootfs
from tests.integration.scanner.examples import PACKAGES, make_settings, write_layout, write_sif

from .contract import ScanToolContract, sboms

__all__ = ["sboms"]

AGE, LIMIT = timedelta(days=5), 1 << 30


@pytest.fixture(scope="module")
async def tool(
    programs: Programs, paths: tuple[Path, Path], database_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> ScanTool:
    database = VulnerabilityDatabase(
        tmp_path_factory.mktemp("databases"), programs, GrypeUnpacker(paths[1]), AGE, LIMIT
    )
    await database.import_file(database_file, "test")
    return Anchore(programs, *paths, database, "syft and grype")


class TestAnchore(ScanToolContract):
    """The contract, with the real programs."""

    async def test_conda_packages_have_licence_archive_and_digest(self, sboms: Sboms) -> None:
        """As the solver has written them into `conda-meta`."""
        spdx: dict[str, Any] = msgspec.json.decode(sboms.spdx)

        samtools = next(package for package in spdx["packages"] if package["name"] == "samtools")
        assert samtools["licenseDeclared"] == "MIT"
        assert samtools["checksums"] == [{"algorithm": "SHA256", "checksumValue": "b" * 64}]
        assert samtools["downloadLocation"] == "https://conda.example/samtools.conda"


async def test_a_sif_file_is_read_like_an_image(tool: ScanTool, sboms: Sboms, tmp_path: Path) -> None:
    """Apptainer's format: the same packages, with the same findings."""
    layout = write_sif(tmp_path, PACKAGES)

    found = await tool.catalogue(layout, "sha256:1234")

    assert found.packages == sboms.packages
    assert {each.id for each in (await tool.match(found.native)).findings} == {
        each.id for each in (await tool.match(sboms.native)).findings
    }


async def test_a_package_that_a_debian_package_owns_has_no_finding_of_its_own(tool: ScanTool, tmp_path: Path) -> None:
    """Debian repairs its own version. The stored SBOM has no lists of files, and still says who owns what."""
    requests = rootfs.python("usr/lib/python3/dist-packages", "requests", "2.0.0")
    owned = "".join(f"{'0' * 32}  {path}\n" for path in requests).encode()
    files = {
        **rootfs.debian({"python3-requests": "2.0.0-1"}),
        **requests,
        "var/lib/dpkg/info/python3-requests.md5sums": owned,
    }

    sboms = await tool.catalogue(write_layout(tmp_path / "image", files), "sha256:1234")

    assert sboms.packages == 2 and (await tool.match(sboms.native)).findings == ()


async def test_programs_run_isolated(programs: Programs) -> None:
    """A program is no user of this machine, has no network, and sees neither its files nor its processes."""
    lines: deque[str] = deque(maxlen=50)
    look = "id -u; cat /proc/self/uid_map; cut -d: -f1 /proc/net/dev; ls /root /work 2>&1; ls /proc | grep -c '^[0-9]'"
    async with programs.scratch(lines) as scratch:
        status, _ = await scratch.run(("sh", "-c", f"{look}; exit 0"), (), {})

    assert status == 0
    text = "\n".join(lines)
    assert lines[0] == "0" and lines[1].split() == ["0", "655360", "65536"]
    interfaces = [line.strip() for line in list(lines)[2:] if "|" not in line and "ls:" not in line]
    assert interfaces[:-1] == ["lo"]
    assert text.count("No such file") == 2
    assert int(lines[-1]) <= 6


async def test_a_scan_that_fills_the_disk_ends(tmp_path: Path) -> None:
    """The limit ends a program whose files together are larger than allowed."""
    settings = make_settings(tmp_path / "workspace", scan_disk=4 << 20)
    fill = "i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > /tmp/work/$i; sleep 0.02; done"
    with Programs.open(settings) as programs:
        async with programs.scratch() as scratch:
            with pytest.raises(ScanFailure) as failure:
                await scratch.run(("sh", "-c", fill), (), {})

    assert failure.value.problem is ScanProblem.DISK
    assert list((tmp_path / "workspace/scans").iterdir()) == []


async def test_a_link_that_a_program_leaves_is_not_followed(programs: Programs, tmp_path: Path) -> None:
    """A program that an image has taken over cannot make the scanner publish a file of this machine."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    async with programs.scratch() as scratch:
        await scratch.run(("ln", "-s", str(secret), "/tmp/work/syft.json"), (), {})

        with pytest.raises(ScanFailure, match="did not write"):
            scratch.read("syft.json")


async def test_a_broken_program_is_named(tool: ScanTool, tmp_path: Path) -> None:
    """Its last lines are the reason; a layout without index is one that syft refuses."""
    layout = write_layout(tmp_path / "image", PACKAGES)
    (layout / "index.json").unlink()

    with pytest.raises(ScanFailure, match="syft ended with status 1") as failure:
        await tool.catalogue(layout, "sha256:1234")

    assert (failure.value.problem, failure.value.exit_code) == (ScanProblem.TOOL, 1)


async def test_versions_are_those_of_the_pins(programs: Programs, paths: tuple[Path, Path]) -> None:
    """Both come from one module, so grype's syft is the one that writes the SBOMs."""
    pins = Path("deploy/scanners/go.mod").read_text()

    for path in paths:
        name, version = (await version_of(programs, path, ENVIRONMENT)).split()
        assert f"github.com/anchore/{name} v{version}" in pins
