"""What services import, which each of them has in memory."""

import subprocess
import sys

import pytest

from swell.imports import emptied, without


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


def test_a_module_can_be_empty_during_an_import() -> None:
    """A library that imports names from it, and does not use them, loads without it."""
    sys.modules.pop("this", None)

    with emptied("this", "d"):
        from this import d

    assert d is None
    assert "this" not in sys.modules


@pytest.mark.parametrize("service", ["gateway", "metrics", "builder", "scanner", "registry_proxy"])
def test_services_do_not_load_what_they_do_not_use(service: str) -> None:
    """The highlighting of tracebacks, a parser of C and ciphers of minio take 5 MB of each service; none is used."""
    listed = f"import sys, {service}.__main__; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True).stdout.split()

    assert not {"rich", "pygments", "cffi", "pycparser", "Crypto", "argon2"} & set(loaded)
