"""The bytecode files of an image: those of the modules that its service imports."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "deploy/images/compile_imports.py"


def run(folder: Path, **files: str) -> subprocess.CompletedProcess[str]:
    """Write a package `one` with *files* beside modules that it may import, and run the script for `one`."""
    modules = {f"one/{name}.py": text for name, text in {"__init__": "", **files}.items()}
    for name, text in {**modules, "used.py": "", "late.py": "", "other.py": ""}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, str(SCRIPT), "one"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_imported_modules_get_bytecode(tmp_path: Path) -> None:
    """Also those that functions import; what no module of the service names stays without."""
    done = run(tmp_path, a="import used\nfrom . import b\ndef use():\n    from late import thing\n", b="")

    assert done.returncode == 0, done.stderr
    compiled = {path.name.partition(".")[0] for path in tmp_path.rglob("*.pyc")}
    assert compiled == {"__init__", "a", "b", "used", "late"}


def test_a_part_that_was_removed_from_a_library_is_an_error(tmp_path: Path) -> None:
    """Else the service would fail when it needs the module. A library that is missing as a whole is no error."""
    assert run(tmp_path, a="import missing_library.part\n").returncode == 0
    done = run(tmp_path, a="def use():\n    import one.missing\n")

    assert done.returncode != 0
    assert "one.missing" in done.stderr
