"""Programs that services start: those of this tree's release come first, and all from one place."""

import stat
from pathlib import Path

import pytest

from swell import programs


def add_program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_compiled_release_comes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release is that of the pinned modules; another version on PATH may write other records."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    on_path = [add_program(tmp_path / "bin", name) for name in ("syft", "grype")]
    assert programs.find("scanners", "syft", "grype") == tuple(on_path)

    folder = programs.compiled("scanners")
    assert folder and folder.is_relative_to(tmp_path / "cache/swell/scanners")
    compiled = [add_program(folder, name) for name in ("syft", "grype")]

    assert programs.find("scanners", "syft", "grype") == tuple(compiled)


def test_programs_of_two_places_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A syft of one release and a grype of another do not agree on the packages of an image."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    add_program(tmp_path / "bin", "grype")
    folder = programs.compiled("scanners")
    assert folder
    add_program(folder, "syft")

    assert programs.find("scanners", "syft", "grype") is None


def test_a_module_that_this_tree_lacks_has_no_release() -> None:
    """Wheels have no deploy/ folder: only PATH counts there."""
    assert programs.compiled("no-such-module") is None
