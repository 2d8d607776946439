"""The real syft and grype, images as OCI layouts, and a small vulnerability database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scanner.adapters.programs import Programs
from scanner.tools.anchore import find_programs
from swell.testing.vulnerabilities import write_database
from tests.integration.scanner.examples import VULNERABILITIES, YESTERDAY, make_settings


@pytest.fixture(scope="session")
def paths() -> tuple[Path, Path]:
    """syft and grype, compiled by `make scanners`."""
    found = find_programs()
    if found is None:
        pytest.fail("these tests need syft and grype: run `make scanners`")
    return found


@pytest.fixture(scope="session")
def database_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of yesterday."""
    path = tmp_path_factory.mktemp("database") / "vulnerability.db"
    write_database(path, VULNERABILITIES, YESTERDAY)
    return path


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Sandboxes in a workspace of the tests."""
    with Programs.open(make_settings(tmp_path_factory.mktemp("scanner") / "workspace")) as opened:
        yield opened
