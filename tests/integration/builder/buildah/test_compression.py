"""How layers are compressed, as the registry and those who pull see it."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from builder.buildah.engine import BuildahEngine
from builder.engine import Recipe
from swell.api.containers import BuildCompression, CompressionMode
from swell.registry.credentials.principal import OPERATOR
from tests.integration.builder.buildah.test_engine import recipe
from tests.integration.builder.harness import OpenEngine, Output, Registry

GZIP, ZSTD, ESTARGZ = CompressionMode.GZIP, CompressionMode.ZSTD, CompressionMode.ESTARGZ
DOCKER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_GZIP, OCI_ZSTD = (f"application/vnd.oci.image.layer.v1.tar+{mode}" for mode in ("gzip", "zstd"))
HEALTHCHECK = "HEALTHCHECK CMD true\n"


async def build(
    engine: BuildahEngine, base: str, body: str, wanted: BuildCompression | None, made: str = "compressed:1"
) -> str:
    """The lines of a build log."""
    output, plain = Output(), recipe(base, body, made=made)
    await engine.build(
        Recipe(
            principal=OPERATOR,
            push_principal=OPERATOR,
            build_id="bd-1_1",
            target_image=plain.target_image,
            containerfile=body,
            compression=wanted,
        ),
        output,
    )
    return output.text


def layers(registry: Registry, repository: str = "compressed") -> list[str]:
    return [layer["mediaType"] for layer in registry.manifest(repository, "1")["layers"]]


async def test_gzip_in_the_docker_format_is_the_default(engine: BuildahEngine, base: str, registry: Registry) -> None:
    """Every client can pull it, and HEALTHCHECK has a place in it."""
    await build(engine, base, f"FROM {base}\nRUN echo plain > /file\n{HEALTHCHECK}", None)
    assert layers(registry) == [DOCKER_GZIP, DOCKER_GZIP]
    assert registry.config("compressed", "1")["config"]["Healthcheck"]["Test"] == ["CMD-SHELL", "true"]


@pytest.mark.parametrize(("force", "bases"), [(False, OCI_GZIP), (True, OCI_ZSTD)])
async def test_zstd_is_for_what_the_build_makes(
    open_engine: OpenEngine, base: str, registry: Registry, tmp_path: Path, force: bool, bases: str
) -> None:
    """Layers of the base image stay as the registry has them, unless it is forced; also when another build has
    fetched them."""
    async with open_engine(tmp_path) as engine:
        for number in range(2):
            wanted = BuildCompression(mode=ZSTD, force=force)
            await build(engine, base, f"FROM {base}\nRUN echo {force} {number} > /file\n", wanted)
            assert layers(registry) == [bases, OCI_ZSTD]


@pytest.mark.parametrize("puller", ["skopeo", "podman"])
async def test_zstd_can_be_pulled(engine: BuildahEngine, base: str, registry: Registry, puller: str) -> None:
    """By clients that know the OCI's media types."""
    wanted = BuildCompression(mode=ZSTD, level=19, force=True)
    await build(engine, base, f"FROM {base}\nRUN echo pulled > /pulled\n", wanted, made="pulled:1")
    image = f"docker://{registry.address}/pulled:1"
    with TemporaryDirectory(prefix="pull-") as folder:  # podman wants a short name
        auth = f"--authfile={registry.auth_file}"
        store = (f"--root={folder}/store", f"--runroot={folder}/run", "--storage-driver=vfs")
        commands = {
            "skopeo": ("copy", "--src-tls-verify=false", f"--src-{auth[2:]}", image, f"oci:{folder}/pulled"),
            "podman": (*store, "pull", "--tls-verify=false", auth, image),
        }
        ran = await asyncio.create_subprocess_exec(puller, *commands[puller], stderr=asyncio.subprocess.PIPE)
        _, said = await asyncio.wait_for(ran.communicate(), 110)
    assert ran.returncode == 0, said.decode()


async def test_zstd_does_not_cost_an_image_its_healthcheck(
    engine: BuildahEngine, base: str, registry: Registry
) -> None:
    """The OCI format has no place for it, so such an image has gzip layers, and the log says why."""
    said = await build(engine, base, f"FROM {base}\nRUN echo kept > /kept\n{HEALTHCHECK}", BuildCompression(mode=ZSTD))
    assert "(zstd layers would lose HEALTHCHECK of this image: the layers are gzip)" in said
    assert layers(registry) == [DOCKER_GZIP, DOCKER_GZIP]
    assert "Healthcheck" in registry.config("compressed", "1")["config"]


async def test_estargz_falls_back_to_gzip(engine: BuildahEngine, base: str, registry: Registry) -> None:
    """Clients of estargz can read gzip, and the log does not claim that the layers are estargz."""
    said = await build(engine, base, f"FROM {base}\nRUN echo star > /star\n", BuildCompression(mode=ESTARGZ))
    assert "(estargz is not supported: the layers are gzip" in said
    assert layers(registry) == [DOCKER_GZIP, DOCKER_GZIP]


async def test_the_level_counts(engine: BuildahEngine, base: str, registry: Registry) -> None:
    """More work, fewer bytes."""
    sizes = []
    for level in (1, 9):
        wanted = BuildCompression(mode=GZIP, level=level, force=True)
        await build(engine, base, f"FROM {base}\nRUN true # {level}\n", wanted)
        sizes.append(registry.manifest("compressed", "1")["layers"][0]["size"])
    assert sizes[1] < sizes[0] * 0.98


async def test_a_base_image_of_zstd_allows_gzip(
    open_engine: OpenEngine, base: str, registry: Registry, tmp_path: Path
) -> None:
    """The registry has its layers as zstd and would take them so; the docker format has no name for that."""
    async with open_engine(tmp_path) as engine:
        await build(engine, base, f"FROM {base}\nRUN true\n", BuildCompression(mode=ZSTD, force=True), made="zbase:1")
        zbase = base.replace("base:1", "zbase:1")
        await build(engine, base, f"FROM {zbase}\nRUN echo more > /more\n{HEALTHCHECK}", None)
    assert set(layers(registry)) == {DOCKER_GZIP}
    assert "Healthcheck" in registry.config("compressed", "1")["config"]
