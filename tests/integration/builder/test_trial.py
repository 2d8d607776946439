"""A real step runs when a builder starts: it needs no registry, and its failure names the cause."""

from pathlib import Path

import pytest

from builder.buildah.engine import BuildahEngine
from builder.buildkit.daemons.programs import Programs
from builder.buildkit.start import open_buildkit
from builder.domain.failure import BuildFailure
from builder.settings import EngineSettings
from tests.integration.builder.buildkit.test_buildkit import programs

__all__ = ["programs"]

BROKEN = "#!/bin/sh\necho 'runc: operation not permitted' >&2\nexit 1\n"


async def test_buildkit_runs_a_step(programs: Programs, tmp_path: Path) -> None:
    """In a daemon that serves no build; nothing of it stays."""
    async with open_buildkit(EngineSettings(workspace=tmp_path), programs) as engine:
        await engine.run_step()

    assert not list(tmp_path.glob("trial*"))


async def test_buildkit_says_why_steps_cannot_run(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon starts and the runtime fails, as with a seccomp profile that forbids it."""
    monkeypatch.setattr("builder.buildkit.daemons.daemon.RUNTIME_SCRIPT", BROKEN)
    async with open_buildkit(EngineSettings(workspace=tmp_path), programs) as engine:
        with pytest.raises(BuildFailure, match="operation not permitted|did not complete successfully"):
            await engine.run_step()


async def test_buildah_runs_a_step(machine: None, tmp_path: Path) -> None:
    """With the isolation and the network of builds."""
    async with BuildahEngine.open(EngineSettings(workspace=tmp_path)) as engine:
        await engine.run_step()


async def test_buildah_says_why_steps_cannot_run(
    machine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the end of its output."""
    monkeypatch.setattr("builder.domain.trial.CONTAINERFILE", 'FROM scratch\nRUN ["/missing"]\n')
    async with BuildahEngine.open(EngineSettings(workspace=tmp_path)) as engine:
        with pytest.raises(BuildFailure, match="missing"):
            await engine.run_step()
