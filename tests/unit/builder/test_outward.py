"""Other people's programs go the way that the settings say, by the words that these programs know."""

from pathlib import Path

import pytest

from builder.adapters.proxy_environment import files, variables
from builder.domain.failure import BuildFailure
from builder.settings import EngineSettings

PROXY = "http://ada:p%40ss@proxy.example:3128"


def test_without_settings_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The builder's own variables of these names do not count, here as elsewhere."""
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    assert variables(EngineSettings(workspace=Path("/w"), no_proxy=("example",))) == {}
    assert files(EngineSettings(workspace=Path("/w"))) == {}


def test_proxies_are_told_in_both_spellings() -> None:
    """Go reads either, curl only the small one, and some programs only the large one."""
    told = variables(EngineSettings(workspace=Path("/w"), https_proxy=PROXY))
    assert told["https_proxy"] == told["HTTPS_PROXY"] == PROXY
    assert "http_proxy" not in told


def test_a_proxy_is_not_asked_for_what_builds_do_not_reach() -> None:
    """It stands in another place of the network. For Go, a dot before a domain would leave out the domain itself."""
    told = variables(
        EngineSettings(
            workspace=Path("/w"), http_proxy=PROXY, no_proxy=(".corp.example",), denied_networks=("10.0.0.0/8",)
        )
    )
    assert told["no_proxy"] == told["NO_PROXY"] == "corp.example,10.0.0.0/8"


def test_certificates_that_cannot_be_read_are_the_operators_business(tmp_path: Path) -> None:
    with pytest.raises(BuildFailure, match="SWELL_CA_FILE"):
        files(EngineSettings(workspace=tmp_path, ca_file=tmp_path / "missing"))
