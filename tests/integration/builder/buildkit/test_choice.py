"""Which engine a builder takes, and what it says where it has none."""

from pathlib import Path

import pytest

from builder.buildah.engine import BuildahEngine
from builder.buildah.mounts import Version
from builder.buildkit.daemons.programs import Programs
from builder.buildkit.engine import BuildkitEngine
from builder.choose_engine import open_engine
from builder.domain.failure import BuildFailure
from builder.settings import EngineChoice, EngineSettings
from swell.errors import Unavailable
from swell.store.records import Reason
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.harness import Output, Registry

__all__ = ["buildkit", "programs"]


@pytest.fixture
def without_buildkit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The cache of compiled releases is empty; this machine has no other BuildKit."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


async def test_buildkit_is_taken_where_it_is(programs: Programs, tmp_path: Path) -> None:
    """Its version is known to who asks for the server's health."""
    async with open_engine(EngineSettings(workspace=tmp_path)) as (name, engine):
        assert isinstance(engine, BuildkitEngine)
        assert name.startswith("buildkit 0.")


async def test_the_operator_may_choose_buildah(programs: Programs, tmp_path: Path) -> None:
    """Also an older release."""
    async with open_engine(EngineSettings(workspace=tmp_path, engine=EngineChoice.BUILDAH)) as (name, engine):
        assert isinstance(engine, BuildahEngine)
        assert name.startswith("buildah 1.")


async def test_without_an_engine_a_builder_starts_and_says_what_to_do(
    without_buildkit: None, buildkit: Buildkit, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A buildah with known escapes is not taken unasked; packages need no engine for container files."""
    monkeypatch.setattr("builder.choose_engine.SAFE_BUILDAH", Version(99, 0, 0))
    async with open_engine(EngineSettings(workspace=tmp_path)) as (name, engine):
        with pytest.raises(BuildFailure, match="make engine") as caught:
            await engine.build(buildkit.good("nothing"), Output())
    assert name == "none"
    assert caught.value.reason is Reason.ENGINE


async def test_a_buildkit_that_does_not_start_is_not_taken(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine may forbid what it needs: the builder then starts without it, unless it was named."""
    broken = Programs(Path("/bin/false"), programs.buildctl)
    monkeypatch.setattr("builder.buildkit.daemons.programs.find", lambda: broken)
    monkeypatch.setattr("builder.choose_engine.SAFE_BUILDAH", Version(99, 0, 0))
    async with open_engine(EngineSettings(workspace=tmp_path)) as (name, _):
        assert name == "none"
    with pytest.raises(Unavailable, match="BuildKit does not start"):
        async with open_engine(EngineSettings(workspace=tmp_path, engine=EngineChoice.BUILDKIT)):
            pytest.fail("it has started")


async def test_an_engine_that_is_named_and_missing_stops_the_builder(without_buildkit: None, tmp_path: Path) -> None:
    """Rather than to build with another one than the operator chose."""
    with pytest.raises(Unavailable, match="make engine"):
        async with open_engine(EngineSettings(workspace=tmp_path, engine=EngineChoice.BUILDKIT)):
            pytest.fail("it has started")
