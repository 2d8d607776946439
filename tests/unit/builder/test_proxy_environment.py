"""Other people's programs go the way that the settings say, by the words that these programs know."""

from pathlib import Path

import pytest

from builder.adapters.proxy_environment import files, variables
from builder.domain.failure import BuildFailure
from builder.settings import EngineSettings

PROXY = "http://ada:p%40ss@proxy.example:3128"


def test_without_settings_no_variable_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The builder's own variables of these names do not count, here as elsewhere."""
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    assert variables(EngineSettings(workspace=Path("/w"), no_proxy=("example",))) == {}
    assert files(EngineSettings(workspace=Path("/w"))) == {}


def test_proxies_are_set_in_both_spellings() -> None:
    """Go reads either, curl only the small one, and some programs only the large one."""
    environment = variables(EngineSettings(workspace=Path("/w"), https_proxy=PROXY))
    assert environment["https_proxy"] == environment["HTTPS_PROXY"] == PROXY
    assert "http_proxy" not in environment


def test_a_proxy_is_not_asked_for_what_builds_do_not_reach() -> None:
    """It stands in another place of the network. For Go, a dot before a domain would leave out the domain itself."""
    environment = variables(
        EngineSettings(
            workspace=Path("/w"), http_proxy=PROXY, no_proxy=(".corp.example",), denied_networks=("10.0.0.0/8",)
        )
    )
    assert environment["no_proxy"] == environment["NO_PROXY"] == "corp.example,10.0.0.0/8"


def test_unreadable_certificates_are_a_failure_of_the_engine(tmp_path: Path) -> None:
    """The operator has to fix the file."""
    with pytest.raises(BuildFailure, match="SWELL_CA_FILE"):
        files(EngineSettings(workspace=tmp_path, ca_file=tmp_path / "missing"))
