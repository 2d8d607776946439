"""The pages for operators name every setting, and no other."""

import importlib
import re
from pathlib import Path

import pytest

from swell.settings import settings_of

PAGES = [Path("docs/settings.md"), Path("docs/operating.md")]
SERVICES = ("gateway", "registry_proxy", "builder", "scanner", "metrics")
OF_MAKE_UP = {"SWELL_HOME", "SWELL_REGISTRY_AUTH_FILE"}
PREFIXES = {"SWELL_KUBERNETES_"}


def documented(*pages: Path) -> set[str]:
    return set(re.findall(r"SWELL_[A-Z0-9_]+", "".join(page.read_text() for page in pages)))


def fields(service: str) -> set[str]:
    settings = importlib.import_module(f"{service}.settings").Settings
    return {each.variable for each in settings_of(settings)}


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_of_a_service_is_documented(service: str) -> None:
    """Operators find settings only in these pages."""
    assert fields(service) - documented(*PAGES) == set()


def test_every_documented_setting_exists() -> None:
    """A setting whose name has changed would be set without effect."""
    existing = set[str]().union(*map(fields, SERVICES))
    files = {f"{name}_FILE" for name in existing}

    assert documented(*PAGES) - existing - files - OF_MAKE_UP - PREFIXES == set()
