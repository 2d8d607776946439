"""The gateway's image has all that the gateway imports."""

import subprocess
import sys

from tools.image_requirements import closure


def test_the_gateway_imports_nothing_that_its_image_lacks() -> None:
    """Some dependencies of its packages are left out: all of its modules are imported without them."""
    lacking = sorted({"bs4", "click", "faker", "httpx", "markdown_it", "polyfactory", "pygments", "rich", "rich_click"})
    script = f"""
import importlib, pkgutil, sys
for name in {lacking}:
    sys.modules[name] = None
import gateway
for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
    importlib.import_module(module.name)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    assert not {"beautifulsoup4", "click", "faker", "httpx", "polyfactory", "pygments", "rich"} & closure("gateway")
