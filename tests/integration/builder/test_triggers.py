"""Frozen images and definition files do not run the triggers (ONBUILD) of their base image, with either engine."""

import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from builder.adapters.inputs.auth_files import AuthFiles
from builder.adapters.inputs.base_configs import RegistryConfigs
from builder.buildah.engine import BuildahEngine
from builder.buildkit.daemons.programs import Programs
from builder.engine import Engine, Recipe
from builder.ignore_triggers import IgnoresTriggers
from builder.settings import EngineSettings
from gateway.submit.builds.freeze import freeze_image
from swell.api.containers import ContainerConfig
from swell.jobs.messages import Definition
from swell.net.outbound import Policy, open_session
from swell.registry.credentials.principal import OPERATOR
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.harness import Output, Registry
from tests.integration.builder.test_sif import built, sif_engine, unpacked

__all__ = ["buildkit", "programs", "sif_engine"]

BASE = r"""FROM {base}
RUN mkdir /data /work && echo kept > /data/file && chown 1234 /data/file
ENV GREETING="good \"\$morning\"" EMPTY=""
LABEL org.example.words="two words"
USER 1234
WORKDIR /work
EXPOSE 8080/tcp
VOLUME ["/data"]
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["id -u"]
ONBUILD RUN echo triggered > /tmp/triggered
ONBUILD ENV TRIGGERED=yes
"""


def recipe_of(registry: Registry, name: str, containerfile: str) -> Recipe:
    return Recipe(
        principal=OPERATOR,
        push_principal=OPERATOR,
        build_id="bd-triggers_1",
        target_image=f"{registry.address}/triggers/{name}",
        containerfile=containerfile,
    )


@pytest.fixture(params=["buildah", "buildkit"])
async def engine_of(
    request: pytest.FixtureRequest,
    engine: BuildahEngine,
    registry: Registry,
    programs: Programs,
    base: str,
    tmp_path: Path,
) -> AsyncIterator[Engine]:
    if request.param == "buildah":
        yield engine
        return
    async with Buildkit(registry, programs, base).open(tmp_path / "workspace") as daemons:
        yield daemons


async def without_triggers(engine: Engine, registry: Registry, recipe: Recipe, folder: Path) -> Output:
    """Build *recipe* as the service does."""
    hosts = frozenset({registry.address})
    settings = EngineSettings(
        workspace=folder, pull_auth_file=registry.auth_file, push_auth_file=registry.auth_file, allowed_hosts=hosts
    )
    output = Output()
    async with open_session(Policy(hosts)) as session:
        configs = RegistryConfigs(session, settings, AuthFiles(settings))
        await IgnoresTriggers(engine, configs).build(recipe, output)
    return output


def files_of(registry: Registry, repository: str) -> dict[str, tarfile.TarInfo]:
    """The files in all layers of the image with the tag 1."""
    files = dict[str, tarfile.TarInfo]()
    for layer in registry.manifest(repository, "1")["layers"]:
        blob, _ = registry.fetch(f"{repository}/blobs/{layer['digest']}")
        with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
            files |= {member.name.removeprefix("./"): member for member in archive}
    return files


async def test_freezing_an_image_runs_no_triggers(
    engine_of: Engine, registry: Registry, base: str, tmp_path: Path
) -> None:
    """The frozen image has the files and the config of the base image, and what the request adds."""
    await engine_of.build(recipe_of(registry, "base:1", BASE.format(base=base)), Output())
    image = f"{registry.address}/triggers/base:1"
    frozen = freeze_image(image, ContainerConfig(env=("ADDED=1",)), (), sif=False)
    recipe = structs.replace(recipe_of(registry, "frozen:1", frozen), ignores_triggers=True)

    output = await without_triggers(engine_of, registry, recipe, tmp_path)

    before, after = (registry.config(f"triggers/{name}", "1")["config"] for name in ("base", "frozen"))
    assert before["OnBuild"] == ["RUN echo triggered > /tmp/triggered", "ENV TRIGGERED=yes"]
    assert not after.get("OnBuild")
    assert sorted(after["Env"]) == sorted([*before["Env"], "ADDED=1"])
    same = ("User", "WorkingDir", "ExposedPorts", "Volumes", "StopSignal", "Entrypoint", "Cmd")
    assert {name: after.get(name) for name in same} == {name: before.get(name) for name in same}
    assert after["Labels"]["org.example.words"] == "two words"
    files = files_of(registry, "triggers/frozen")
    assert (files["data/file"].uid, files["data/file"].size) == (1234, len("kept\n"))
    assert "tmp/triggered" not in files
    assert "2 ONBUILD triggers" in output.text


async def test_a_base_image_without_triggers_is_built_on(
    engine_of: Engine, registry: Registry, base: str, tmp_path: Path
) -> None:
    """Its layers are shared, as before."""
    frozen = freeze_image(base, ContainerConfig(env=("ADDED=1",)), (), sif=False)
    recipe = structs.replace(recipe_of(registry, "plain:1", frozen), ignores_triggers=True)
    await without_triggers(engine_of, registry, recipe, tmp_path)
    layers = registry.manifest("base", "1")["layers"]
    assert [layer["digest"] for layer in registry.manifest("triggers/plain", "1")["layers"]][: len(layers)] == [
        layer["digest"] for layer in layers
    ]


async def test_a_definition_file_runs_no_triggers(
    sif_engine: BuildahEngine, registry: Registry, base: str, tmp_path: Path
) -> None:
    """Apptainer does not know them."""
    await sif_engine.build(recipe_of(registry, "sif-base:1", BASE.format(base=base)), Output())
    containerfile = f"FROM {registry.address}/triggers/sif-base:1\nUSER 0\nWORKDIR /\nRUN echo made > /made\n"
    recipe = recipe_of(registry, "sif:1", containerfile)
    recipe = structs.replace(
        recipe, target_image=f"oras://{recipe.target_image}", sif=Definition(text="x"), ignores_triggers=True
    )

    class AsService:
        async def build(self, wanted: Recipe, output: Output) -> str:
            hosts = frozenset({registry.address})
            settings = EngineSettings(workspace=tmp_path, pull_auth_file=registry.auth_file, allowed_hosts=hosts)
            async with open_session(Policy(hosts)) as session:
                configs = RegistryConfigs(session, settings, AuthFiles(settings))
                return await IgnoresTriggers(sif_engine, configs).build(wanted, output)

    root = unpacked(await built(AsService(), recipe, registry, tmp_path))  # type: ignore[arg-type]
    assert (root / "made").read_text() == "made\n"
    assert (root / "data/file").read_text() == "kept\n"
    assert not (root / "tmp/triggered").exists()
