"""Settings: read once, and errors name the wrong values."""

import importlib
import re
from datetime import timedelta
from functools import reduce
from pathlib import Path

import pytest
from msgspec import Struct

from swell.settings import SettingsInvalid, read, settings_of


class Settings(Struct, frozen=True, kw_only=True):
    url: str
    ttl: timedelta = timedelta(hours=36)
    hosts: frozenset[str] = frozenset()
    size: int = 5
    file: Path | None = None


def test_fields_are_read_from_swell_variables() -> None:
    """Each field has one variable."""
    environment = {"SWELL_URL": "http://a", "SWELL_TTL": "PT5M", "SWELL_HOSTS": "a:1, b", "SWELL_SIZE": "7", "URL": "x"}
    environment["SWELL_FILE"] = "a/b.json"

    assert read(Settings, environment) == Settings(
        url="http://a", ttl=timedelta(minutes=5), hosts=frozenset({"a:1", "b"}), size=7, file=Path("a/b.json")
    )


def test_an_empty_variable_keeps_the_default() -> None:
    """Compose files often set empty variables."""
    assert read(Settings, {"SWELL_URL": "http://a", "SWELL_TTL": ""}).ttl == timedelta(hours=36)


def test_every_wrong_field_is_named_at_once() -> None:
    """An operator corrects them in one go, from one error."""
    with pytest.raises(SettingsInvalid) as caught:
        read(Settings, {"SWELL_TTL": "36h", "SWELL_SIZE": "many"})

    assert "SWELL_URL must be set" in str(caught.value)
    assert "SWELL_TTL cannot be '36h'" in str(caught.value)
    assert "SWELL_SIZE cannot be 'many'" in str(caught.value)


def test_a_value_may_be_in_a_file(tmp_path: Path) -> None:
    """Secrets that are mounted as files stay out of the environment, which other processes may read."""
    (tmp_path / "url").write_text("redis://:secret@host/0\n")

    assert read(Settings, {"SWELL_URL_FILE": str(tmp_path / "url")}).url == "redis://:secret@host/0"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("", "empty"), (" \n", "empty"), ("x" * (64 << 10) + "y", "64 KiB")],
)
def test_a_file_that_has_no_value_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    """An operator whose secret is not mounted learns which one."""
    if content is not None:
        (tmp_path / "url").write_text(content)

    with pytest.raises(SettingsInvalid, match=f"SWELL_URL_FILE.*{message}"):
        read(Settings, {"SWELL_URL_FILE": str(tmp_path / "url")})


def test_an_invalid_value_of_a_file_is_not_shown(tmp_path: Path) -> None:
    """Files are for secrets, and the message goes to the log."""
    file = tmp_path / "size"
    file.write_text("hunter2")

    with pytest.raises(SettingsInvalid, match="SWELL_SIZE_FILE") as caught:
        read(Settings, {"SWELL_URL": "http://a", "SWELL_SIZE_FILE": str(file)})

    assert "hunter2" not in str(caught.value)


def test_a_value_and_its_file_together_are_refused(tmp_path: Path) -> None:
    """It would not be clear which of them counts."""
    (tmp_path / "url").write_text("http://b")

    with pytest.raises(SettingsInvalid, match="both set"):
        read(Settings, {"SWELL_URL": "http://a", "SWELL_URL_FILE": str(tmp_path / "url")})


def test_a_field_that_is_a_path_stays_a_path() -> None:
    """`SWELL_FILE` is a setting of its own here, and no file is read for it."""
    assert read(Settings, {"SWELL_URL": "http://a", "SWELL_FILE": "/missing"}).file == Path("/missing")


class Group(Struct, frozen=True, kw_only=True):
    url: str
    replicas: int = 1


class Grouped(Struct, frozen=True, kw_only=True):
    queue: Group
    name: str = ""


def test_a_group_of_settings_has_their_common_prefix() -> None:
    """The settings of a backend are in one value, which its connection takes."""
    environment = {"SWELL_QUEUE_URL": "nats://a", "SWELL_QUEUE_REPLICAS": "3"}

    assert read(Grouped, environment) == Grouped(queue=Group(url="nats://a", replicas=3))


def test_a_missing_setting_of_a_group_is_named() -> None:
    """By its whole variable."""
    with pytest.raises(SettingsInvalid, match="SWELL_QUEUE_URL must be set; SWELL_QUEUE_REPLICAS cannot be 'x'"):
        read(Grouped, {"SWELL_QUEUE_REPLICAS": "x"})


@pytest.mark.parametrize("service", ["gateway", "registry_proxy", "builder", "scanner", "metrics"])
def test_each_secret_of_a_service_may_be_in_a_file(service: str, tmp_path: Path) -> None:
    """And each other text: the rule has no exception."""
    kind = importlib.import_module(f"{service}.settings").Settings
    texts = [each for each in settings_of(kind) if each.type in {str, str | None}]
    environment = {each.variable: "/x" for each in settings_of(kind) if each.is_required}
    for number, each in enumerate(texts):
        environment.pop(each.variable, None)
        path = tmp_path / each.variable
        path.write_text(f"secret-{number}\n")
        environment[f"{each.variable}_FILE"] = str(path)

    configured = read(kind, environment)

    for number, each in enumerate(texts):
        assert reduce(getattr, each.path, configured) == f"secret-{number}", each.variable
    secrets = {each.variable for each in texts if re.search(r"_(KEYS?|TOKEN|PASSWORD)\Z", each.variable)}
    assert secrets >= {"SWELL_RPC_TOKEN", "SWELL_S3_SECRET_KEY", "SWELL_REDIS_SENTINEL_PASSWORD"}
