"""trivy keeps the contract; with the real program, and a database that trivy's own library has written."""

import json
import subprocess
import tarfile
from datetime import timedelta

import pytest

from scanner.adapters.database import VulnerabilityDatabase
from scanner.adapters.programs import Programs
from scanner.tools.common import version_of
from scanner.tools.protocol import ScanTool
from scanner.tools.trivy import Trivy, TrivyUnpacker
from swell.programs import find
from tests.integration.scanner.examples import YESTERDAY

from .contract import ScanToolContract, sboms

__all__ = ["sboms"]

AGE, LIMIT = timedelta(days=5), 1 << 30
DEBIAN, PIP = "debian 12", "pip::GitHub Security Advisory pip"
VULNERABILITIES = [
    {
        "ID": "CVE-2026-0001",
        "Source": DEBIAN,
        "Package": "libdemo",
        "Fixed": "1.1",
        "Title": "A demo\nin two lines.",
        "Severity": 3,
        "Published": "2026-11-01T00:00:00Z",
    },
    {"ID": "CVE-2026-0002", "Source": DEBIAN, "Package": "tiny", "Severity": 1},
    {
        "ID": "CVE-2026-0003",
        "Source": PIP,
        "Package": "requests",
        "Fixed": "2.1.0",
        "Range": "<2.1.0",
        "Severity": 4,
        "VendorIDs": ["GHSA-aaaa-bbbb-cccc"],
    },
]


@pytest.fixture(scope="module")
async def tool(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> ScanTool:
    found = find("trivy", "trivy", "testdb")
    assert found, "there is no trivy: run `make trivy`"
    folder = tmp_path_factory.mktemp("trivy")
    content = {"Built": YESTERDAY.isoformat(), "Vulnerabilities": VULNERABILITIES}
    subprocess.run((found[1], folder / "db"), input=json.dumps(content).encode(), check=True)  # noqa: ASYNC221
    archive = folder / "db.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("trivy.db", "metadata.json"):
            tar.add(folder / "db" / name, name)
    database = VulnerabilityDatabase(folder / "databases", programs, TrivyUnpacker(), AGE, LIMIT)
    await database.import_file(archive, "test")
    return Trivy(programs, found[0], database, await version_of(programs, found[0], {}))


@pytest.mark.full
class TestTrivy(ScanToolContract):
    """The contract. trivy knows no R packages, and Conda packages below `envs/` only."""

    packages = frozenset({"libdemo", "tiny", "zlib", "requests"})
    urls = ("pkg:conda/zlib@1.2", "pkg:deb/debian/libdemo@1.0-1", "pkg:pypi/requests@2.0.0")
    url, negligible = "https://avd.aquasec.com/nvd/cve-2026-0001", "LOW"
    epss = None
    is_exploited = False
