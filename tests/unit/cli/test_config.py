"""Profiles: where they are, which value counts, and that keys reach only their own server."""

import stat
from pathlib import Path

import pytest

from swell_cli.config import Config, ConfigInvalid, Profile, load, resolve, save, with_profile
from tests.unit.cli.command import Run

WORK = Profile("https://work.test", "work-key")


def test_without_anything_the_server_is_on_this_machine() -> None:
    """`make up` and `swell build .` work together."""
    server = resolve(None, None)

    assert (server.url.value, server.token.value) == ("http://localhost:9090", "")


def test_a_profile_is_stored_for_its_owner_only(clean: Path) -> None:
    """The file has keys."""
    path = save(with_profile(Config(), "work", WORK))

    assert path == clean / "config.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load() == Config(default="work", profiles={"work": WORK})
    assert load() != Config()
    assert with_profile(load(), "work", None) == Config()


def test_options_count_before_variables_and_variables_before_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the tools of clouds; a profile that is named counts before variables."""
    save(with_profile(Config(), "work", WORK))
    assert resolve(None, None).url.value == "https://work.test"

    monkeypatch.setenv("WAVE_ENDPOINT", "https://wave.test/")
    assert resolve(None, None).url == ("https://wave.test", "WAVE_ENDPOINT")
    monkeypatch.setenv("SWELL_URL", "https://swell.test")
    assert resolve(None, None).url.origin == "SWELL_URL"
    assert resolve("https://option.test", None).url.origin == "--url"
    assert resolve(None, "work").url.value == "https://work.test"


def test_the_key_of_a_profile_is_sent_only_to_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that sets another address must not receive it."""
    save(with_profile(Config(), "work", WORK))

    assert resolve(None, None).token.value == "work-key"
    assert resolve("https://other.test", None).token.value == ""
    monkeypatch.setenv("SWELL_URL", "https://other.test")
    assert resolve(None, None).token.value == ""
    monkeypatch.setenv("TOWER_ACCESS_TOKEN", "tower")
    assert resolve(None, None).token == ("tower", "TOWER_ACCESS_TOKEN")


def test_a_profile_that_does_not_exist_is_an_error(clean: Path) -> None:
    """A typing error must not use another server."""
    with pytest.raises(ConfigInvalid, match="no profile 'wrok'"):
        resolve(None, "wrok")


@pytest.mark.parametrize("text", ["=", "profiles = 3", '[profiles.a]\nurl = ["x"]'])
def test_a_malformed_file_is_an_error_with_its_place(clean: Path, run: Run, text: str) -> None:
    """The message names the file."""
    clean.mkdir(parents=True)
    (clean / "config.toml").write_text(text)

    ran = run("config", "list")

    assert ran.exit_code == 2
    assert str(clean / "config.toml") in ran.stderr
    assert ran.stdout == ""


def test_keys_are_never_shown(run: Run) -> None:
    """Screens are shared, and output is pasted into issues."""
    save(with_profile(Config(), "work", WORK))

    for words in (
        ("config", "list"),
        ("config", "show"),
        ("config", "list", "-o", "json"),
        ("config", "show", "-o", "yaml"),
    ):
        ran = run(*words)
        assert ran.exit_code == 0
        assert "work.test" in ran.stdout
        assert "work-key" not in ran.output


def test_another_profile_can_be_the_default(run: Run) -> None:
    """`swell config use` changes it; a wrong name changes nothing."""
    save(with_profile(with_profile(Config(), "a", WORK), "b", Profile("https://b.test")))

    assert run("config", "use", "b").exit_code == 0
    assert run("config", "show", "-o", "name").stdout == "https://b.test\n"
    assert run("config", "use", "c").exit_code == 2
    assert run("logout", "--profile", "b").exit_code == 0
    assert set(load().profiles) == {"a"}
