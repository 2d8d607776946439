"""What services hold in memory while they receive no requests."""

import subprocess
import sys

SERVICES = ("builder", "gateway", "metrics", "registry_proxy", "scanner")
SELDOM = ("rattler", "botocore", "lightkube")
"""Megabytes each, for requests that many servers never get."""

LOOK = f"""
import importlib, sys
for service in {SERVICES}:
    importlib.import_module(service + ".__main__")
    print(*(f"{{service}} loads {{name}}" for name in {SELDOM} if name in sys.modules))
"""


def test_an_idle_service_has_not_loaded_what_few_requests_need() -> None:
    """One import at the top of a file is enough to load them. One process imports all services, to save time."""
    loaded = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.split("\n") == [*("" for _ in SERVICES), ""]
