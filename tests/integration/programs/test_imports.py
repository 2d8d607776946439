"""What services import, which each of them has in memory."""

import subprocess
import sys

import pytest

from swell.imports import without


def test_a_module_can_be_left_out_of_an_import() -> None:
    """Only in the block: later imports of other libraries find it."""
    sys.modules.pop("this", None)

    with without("this"), pytest.raises(ImportError):
        __import__("this")

    assert "this" not in sys.modules


def test_a_module_that_is_loaded_stays() -> None:
    """Code that has imported it may import it again."""
    with without("subprocess"):
        assert __import__("subprocess") is subprocess


@pytest.mark.parametrize("service", ["gateway", "metrics", "builder", "scanner", "registry_proxy"])
def test_services_do_not_load_what_they_do_not_use(service: str) -> None:
    """The highlighting of tracebacks and a parser of C take 4 MB of each service; both are optional."""
    listed = f"import sys, {service}.__main__; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True).stdout.split()

    assert not {"rich", "pygments", "cffi", "pycparser"} & set(loaded)
