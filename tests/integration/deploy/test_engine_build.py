"""`make engine` and `make up` compile BuildKit once; here with a `go` that compiles nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

GO = """\
#!/bin/sh
echo "$@" >> "$CALLS"
case "$1" in
env) echo go99.0 ;;
mod) [ "$BROKEN" != modules ] ;;
build)
    [ "$BROKEN" != programs ] || { echo "a package does not compile"; exit 1; }
    while [ "$1" != -o ]; do shift; done
    touch "$2/buildkitd" "$2/buildctl"
    chmod 755 "$2/buildkitd" "$2/buildctl" ;;
esac
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With the `go` above first on the PATH, and an empty cache."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/go").write_text(GO)
    (tmp_path / "bin/go").chmod(0o755)
    own = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), "BROKEN": ""}
    return {**os.environ, **own, "XDG_CACHE_HOME": str(tmp_path / "cache")}


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


BUILD = [str(ROOT / "deploy/engine/build.sh"), sys.executable]


def test_the_engine_is_compiled_once(environment: dict[str, str], tmp_path: Path) -> None:
    """The result is in a cache outside of the tree, by the pinned versions; a second call does not need Go."""
    first = run(BUILD, environment)
    assert first.returncode == 0, first.stderr
    assert "compiling BuildKit, once" in first.stdout
    (target,) = (path for path in (tmp_path / "cache/swell/engine").iterdir() if path.is_dir())
    assert sorted(path.name for path in target.iterdir()) == ["buildctl", "buildkitd"]
    calls = (tmp_path / "calls").read_text()

    assert run(BUILD, environment).returncode == 0
    assert (tmp_path / "calls").read_text() == calls


@pytest.mark.parametrize(
    ("broken", "message"), [("modules", "cannot be fetched"), ("programs", "could not be compiled")]
)
def test_a_failure_leaves_nothing_that_counts_as_an_engine(
    environment: dict[str, str], tmp_path: Path, broken: str, message: str
) -> None:
    """The next call tries again."""
    failed = run(BUILD, environment | {"BROKEN": broken})
    assert failed.returncode != 0
    assert message in failed.stderr
    assert [path for path in (tmp_path / "cache/swell/engine").iterdir() if path.is_dir()] == []
    assert run(BUILD, environment).returncode == 0


def test_make_up_goes_on_without_an_engine(environment: dict[str, str]) -> None:
    """It says what still works, and which command tries again."""
    command = ["make", "-s", "-o", ".venv/ready", "engine-or-without"]
    result = run(command, environment | {"BROKEN": "programs"})
    assert result.returncode == 0, result.stderr
    assert "Swell starts without it" in result.stderr
    assert "make engine" in result.stderr
