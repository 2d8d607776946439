"""What services hold in memory while nobody asks them for anything."""

import subprocess
import sys

import pytest

SELDOM = ("rattler", "botocore", "lightkube")
"""Megabytes each, for requests that many servers never get."""


@pytest.mark.parametrize("service", ["builder", "gateway", "metrics", "registry_proxy", "scanner"])
def test_an_idle_service_has_not_loaded_what_few_requests_need(service: str) -> None:
    """It is easily loaded by a line at the top of a file, and then nobody notices."""
    look = f"import sys, {service}.__main__; print(*(name for name in {SELDOM} if name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.split() == []
