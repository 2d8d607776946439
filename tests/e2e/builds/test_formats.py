"""Augmented images can be copied to other formats and used as base images."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from swell.oci.media_types import OCI_ZSTD_LAYER
from swell.testing.images import Layer
from tests.e2e.busybox import FORMS, archive, push
from tests.e2e.client import Swell, as_data
from tests.e2e.engines import ALONE, Docker, Engine, succeed
from tests.e2e.upstreams import Upstreams

ADDED = {
    "entrypoint": ["/opt/tool"],
    "env": ["MODE=added"],
    "workingDir": "/opt",
    "layers": [as_data(archive({"opt/tool": b'#!/bin/sh\necho "tool in $(pwd): $MODE $MORE"\n'}))],
}
BLOCK = 128 << 10
DESTINATIONS = {
    "oci": ("oci:{folder}/image:tag",),
    "oci-archive": ("oci-archive:{folder}/image:tag",),
    "dir": ("dir:{folder}/image",),
    "docker v2s2": ("--format=v2s2", "dir:{folder}/image"),
    "docker-archive": ("docker-archive:{folder}/image:example.org/made:tag",),
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder with a short path, as podman requires."""
    with TemporaryDirectory(prefix="e2e-") as path:
        yield Path(path)


async def augmented(swell: Swell, upstreams: Upstreams, form: str) -> str:
    answer = await swell.submit(containerImage=upstreams.image(form), containerConfig=ADDED)
    return str(answer["targetImage"])


async def inspected(*image: str) -> dict[str, Any]:
    """Return the config of an image at any location that skopeo supports."""
    return dict(json.loads(await succeed("skopeo", "inspect", "--config", *image)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("to", DESTINATIONS)
async def test_an_augmented_image_can_be_copied_into_every_format(
    swell: Swell, upstreams: Upstreams, folder: Path, form: str, to: str
) -> None:
    """The copy has the same layers, history and run-time fields."""
    image = await augmented(swell, upstreams, form)
    destination = [part.format(folder=folder) for part in DESTINATIONS[to]]

    await succeed("skopeo", "copy", "--src-tls-verify=false", f"docker://{image}", *destination)

    config = await inspected(destination[-1].removesuffix(":example.org/made:tag"))
    layers = [entry for entry in config["history"] if not entry.get("empty_layer")]
    assert len(layers) == len(config["rootfs"]["diff_ids"]) == 2
    assert (config["config"]["Entrypoint"], config["config"]["WorkingDir"]) == (["/opt/tool"], "/opt")
    assert "MODE=added" in config["config"]["Env"]


@pytest.mark.parametrize("form", FORMS)
async def test_an_augmented_image_works_as_a_base_image(
    swell: Swell, upstreams: Upstreams, folder: Path, form: str
) -> None:
    """`buildah commit` refuses an image whose history does not match its layers."""
    image = await augmented(swell, upstreams, form)
    where = (f"--root={folder}/root", f"--runroot={folder}/run")

    async def buildah(*arguments: str) -> str:
        return await succeed(*ALONE, "buildah", *where, *arguments)

    container = (await buildah("from", "--quiet", "--tls-verify=false", image)).split()[-1]
    await buildah("config", "--env=MORE=upon", container)
    await buildah("commit", "--quiet", container, "example.org/made:1")

    run = ("run", "--rm", "--pull=never", "--runtime=runc", "--network=none", "--ulimit=host")
    assert "tool in /opt: added upon" in await succeed(*ALONE, "podman", *where, *run, "example.org/made:1")


def stored(content: bytes) -> bytes:
    """Return *content* as zstd in uncompressed blocks.

    Source: RFC 8878, section 3.1.1, https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1
    """
    blocks = [content[at : at + BLOCK] for at in range(0, len(content), BLOCK)]
    headers = [(len(block) << 3 | (at == len(blocks) - 1)).to_bytes(3, "little") for at, block in enumerate(blocks)]
    window = b"\x38"  # a window of 128 KiB
    return b"\x28\xb5\x2f\xfd\x00" + window + b"".join(map(b"".join, zip(headers, blocks, strict=True)))


async def test_included_zstd_layers_are_not_changed(swell: Swell, upstreams: Upstreams, engine: Engine) -> None:
    """The manifest has their media type, so clients can unpack them."""
    tar = archive({"opt/note": b"unpacked\n"}).tar
    packed = await push(f"{upstreams.open}/packed/with:zstd", Layer(tar, stored(tar)), media_type=OCI_ZSTD_LAYER)
    if isinstance(engine, Docker):
        pytest.skip("the Docker of this machine is older than its support of zstd")

    answer = await swell.submit(
        containerImage=upstreams.image("oci"), containerIncludes=[packed], containerConfig={"cmd": ["cat", "/opt/note"]}
    )

    assert "unpacked" in (await engine.run(answer["targetImage"])).split()
