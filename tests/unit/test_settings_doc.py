"""The page of settings names each of them: what is not there, nobody can set."""

import importlib
import re
from pathlib import Path

import msgspec
import pytest

PAGES = [Path("docs/settings.md"), Path("docs/operating.md")]
SERVICES = ("gateway", "registry_proxy", "builder", "scanner", "metrics")


def told() -> set[str]:
    return set(re.findall(r"SWELL_[A-Z0-9_]+", "".join(page.read_text() for page in PAGES)))


def fields(service: str) -> set[str]:
    settings = importlib.import_module(f"{service}.settings").Settings
    return {f"SWELL_{field.name.upper()}" for field in msgspec.structs.fields(settings)}


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_of_a_service_is_told(service: str) -> None:
    assert fields(service) - told() == set()


def test_no_setting_is_told_that_nobody_reads() -> None:
    """A name that changed would be set in vain; two are read by `make up`, and one begins a group of names."""
    read = set[str]().union(*map(fields, SERVICES)) | {"SWELL_HOME", "SWELL_KUBERNETES_", "SWELL_REGISTRY_AUTH_FILE"}
    assert told() - read == set()
