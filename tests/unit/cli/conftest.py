"""A command line without variables and files of this machine."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from swell_cli.__main__ import swell
from tests.unit.cli.command import Run


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No server is configured; the config file is in a folder of the test, which is returned."""
    for name in ("SWELL_URL", "SWELL_TOKEN", "SWELL_PROFILE", "WAVE_ENDPOINT", "TOWER_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config/swell"


@pytest.fixture
def run() -> Run:
    """Run `swell` with words, in this process."""

    def invoke(*words: str, text: str | None = None) -> Result:
        return CliRunner().invoke(swell, words, input=text, prog_name="swell")

    return invoke
