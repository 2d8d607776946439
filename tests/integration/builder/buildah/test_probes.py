"""Hostile recipes reach nothing outside of their build: in each isolation, with and without the check of mounts."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from builder.buildah.mounts import Version
from builder.domain.failure import BuildFailure
from builder.engine import Engine, Recipe
from builder.settings import Isolation
from swell.registry.credentials.principal import OPERATOR
from tests.integration.builder.contract import new_build_id
from tests.integration.builder.harness import OpenEngine, Output
from tests.integration.builder.probes import PROBES, Canaries, Probe, canaries, packed

TRUSTED = Version(999, 0, 0)
"""A version of buildah whose mounts are not checked, so that nothing but the sandbox is in the way."""


@pytest.fixture(scope="module")
def workspace() -> Iterator[Path]:
    """A directory that every user may enter, so that its permissions do not protect it."""
    with TemporaryDirectory(prefix="swell-probes-", dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="module", params=[TRUSTED, None], ids=["unchecked", "checked"])
def version(request: pytest.FixtureRequest) -> Version | None:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=list(Isolation))
async def probed(
    request: pytest.FixtureRequest, version: Version | None, open_engine: OpenEngine, workspace: Path
) -> AsyncIterator[Engine]:
    async with open_engine(workspace, isolation=request.param, version=version) as engine:
        yield engine


@pytest.fixture
def alive(probed: Engine, workspace: Path) -> Iterator[Canaries]:
    with canaries(workspace) as made:
        yield made


async def outcome(engine: Engine, probe: Probe, base: str, canaries: Canaries, folder: Path) -> str:
    """What the builds of *probe* print, and why they fail if they do."""
    registry = base.partition("/")[0]
    context = folder / "context.tar.gz"
    context.write_bytes(packed(probe.context(canaries), "w:gz"))
    output, first = Output(), f"{registry}/{probe.name}-first:1"
    bodies = [(probe.first, first)] if probe.first else []
    try:
        for body, target in [*bodies, (probe.body, f"{registry}/{probe.name}:1")]:
            containerfile = probe.fill(body, base, first, canaries)
            recipe = Recipe(
                build_id=new_build_id(),
                target_image=target,
                containerfile=containerfile,
                context=context,
                principal=OPERATOR,  # else the base image is refused, and nothing is probed
                push_principal=OPERATOR,
            )
            await engine.build(recipe, output)
    except BuildFailure as failure:
        return f"{output.text}\n{failure}"
    return output.text


@pytest.mark.parametrize("probe", [probe for probe in PROBES if probe.has_reached], ids=lambda probe: probe.name)
async def test_what_has_reached_the_machine_reaches_nothing(
    probed: Engine, probe: Probe, base: str, alive: Canaries, tmp_path: Path
) -> None:
    """These recipes printed or overwrote canaries on commit aa47f99."""
    said = await outcome(probed, probe, base, alive, tmp_path)
    assert alive.is_alive(said), said


@pytest.mark.full
@pytest.mark.parametrize("probe", [probe for probe in PROBES if not probe.has_reached], ids=lambda probe: probe.name)
async def test_no_canary_is_reached(probed: Engine, probe: Probe, base: str, alive: Canaries, tmp_path: Path) -> None:
    """No recipe reaches a canary, even if the engine resolves its paths unsafely."""
    said = await outcome(probed, probe, base, alive, tmp_path)
    assert alive.is_alive(said), said
