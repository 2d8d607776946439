"""Hostile recipes reach nothing outside of their build with BuildKit either."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from builder.buildkit.daemons.programs import Programs
from builder.buildkit.engine import BuildkitEngine
from tests.integration.builder.buildah.test_probes import outcome
from tests.integration.builder.buildkit.test_buildkit import Buildkit, programs
from tests.integration.builder.harness import Output, Registry
from tests.integration.builder.probes import PROBES, Canaries, Probe, canaries

__all__ = ["programs"]

SAMPLE = 5
"""Every fifth of the probes that never reached anything runs in `make test`, all of them in `make test-full`."""


@pytest.fixture(scope="module")
def workspace() -> Iterator[Path]:
    """A directory that every user may enter, so that its permissions do not protect it."""
    with TemporaryDirectory(prefix="swell-probes-", dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="module")
async def probed(registry: Registry, programs: Programs, base: str, workspace: Path) -> AsyncIterator[BuildkitEngine]:
    async with Buildkit(registry, programs, base).open(workspace) as engine:
        yield engine


@pytest.fixture
def alive(probed: BuildkitEngine, workspace: Path) -> Iterator[Canaries]:
    with canaries(workspace) as made:
        yield made


def parameters() -> list[object]:
    """Those that reached the machine with buildah 1.28, and some of the others."""
    return [
        pytest.param(
            probe, id=probe.name, marks=() if probe.has_reached or number % SAMPLE == 0 else (pytest.mark.full,)
        )
        for number, probe in enumerate(PROBES)
    ]


@pytest.mark.parametrize("probe", parameters())
async def test_no_canary_is_reached(
    probed: BuildkitEngine, probe: Probe, base: str, alive: Canaries, tmp_path: Path
) -> None:
    """No recipe reaches a canary, even if BuildKit resolves its paths unsafely."""
    said = await outcome(probed, probe, base, alive, tmp_path)
    assert alive.is_alive(said), said
    assert "401 Unauthorized" not in said, "the base image must be there for the probe to mean something"


async def test_the_probed_engine_works(
    probed: BuildkitEngine, registry: Registry, programs: Programs, base: str
) -> None:
    """Probes that cannot begin prove nothing."""
    await probed.build(Buildkit(registry, programs, base).good("it works"), Output())
