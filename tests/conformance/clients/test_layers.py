"""Layers as the clients pack them are unchanged in the image that is pulled."""

import json
from typing import Any

import pytest

from swell.oci.digest import digest_of
from swell.testing.images import Layer
from tests.e2e.busybox import REPOSITORY, archive, document_of, push
from tests.e2e.client import Fields, Swell, as_data
from tests.e2e.engines import Engine
from tests.e2e.upstreams import Upstreams

DEEP = "/".join(["a-rather-long-name-of-a-folder"] * 6) + "/tool"
PATHS = {
    "implied folders": ("opt/in/tool", ()),
    "named folders": ("opt/out/tool", ("opt/", "opt/out/")),
    "a name of 180 characters": (DEEP, ()),
}


async def config_of(swell: Swell, answer: Fields) -> Any:
    """Return the run-time fields of the image that *answer* names."""
    name, _, tag = answer["targetImage"].partition("/")[2].rpartition(":")
    manifest = json.loads(await swell.bytes(f"/v2/{name}/manifests/{tag}"))
    return json.loads(await swell.bytes(f"/v2/{name}/blobs/{manifest['config']['digest']}"))["config"]


async def root_of(swell: Swell, answer: Fields) -> str:
    """Return the digest of the manifest that *answer* names."""
    name, _, tag = answer["targetImage"].partition("/")[2].rpartition(":")
    return str((await swell.get(f"/v2/{name}/manifests/{tag}"))[1]["config"]["digest"])


@pytest.mark.row("L1", "L2", "L3", "L4", "L6")
async def test_files_have_their_packed_paths_and_modes(swell: Swell, upstreams: Upstreams, engine: Engine) -> None:
    """They belong to root, whether or not the archive has entries for their folders."""
    layers = [as_data(archive({path: b"#!/bin/sh\n"}, folders=folders)) for path, folders in PATHS.values()]
    command = "; ".join(f"stat -c '%u:%g %a %n' /{path}" for path, _ in PATHS.values())
    config = {"layers": layers, "cmd": ["sh", "-c", command]}

    answer = await swell.submit(containerImage=upstreams.image(), containerConfig=config)

    said = (await engine.run(answer["targetImage"])).splitlines()
    assert set(said) >= {f"0:0 755 /{path}" for path, _ in PATHS.values()}


@pytest.mark.row("L5")
@pytest.mark.parametrize("claim", ["gzipDigest", "tarDigest", "gzipSize"])
async def test_a_layer_with_a_wrong_digest_or_size_is_refused(swell: Swell, upstreams: Upstreams, claim: str) -> None:
    """A declared digest or size that is wrong means damaged data."""
    lie = 1 if claim == "gzipSize" else "sha256:" + 64 * "0"
    layer = as_data(archive({"a": b"a"})) | {claim: lie}

    status, answer = await swell.post(containerImage=upstreams.image(), containerConfig={"layers": [layer]})

    assert (status, claim in answer["message"]) == (400, True)


@pytest.mark.row("B36")
async def test_an_image_pinned_by_digest_takes_additions_under_a_tag(
    swell: Swell, upstreams: Upstreams, engine: Engine
) -> None:
    """Wave refuses it. Its name would promise bytes that the image with additions does not have; the tag does not."""
    digest = document_of("oci").digest
    pinned = f"{upstreams.image().rpartition(':')[0]}@{digest}"

    answer = await swell.submit(containerImage=pinned, containerConfig={"env": ["PINNED=yes"], "cmd": ["env"]})

    name, _, tag = answer["targetImage"].partition("/")[2].rpartition(":")
    assert (answer["containerImage"], tag) == (pinned, digest.replace(":", "-"))
    content = await swell.bytes(f"/v2/{name}/manifests/{tag}")
    assert digest_of(content) != digest
    assert await swell.bytes(f"/v2/{name}/manifests/{digest_of(content)}") == content
    assert (await swell.get(f"/v2/{name}/manifests/{digest}"))[0] == 404
    assert (await swell.get(f"/v2/{name}/tags/list"))[1]["tags"] == [tag]
    assert {"PINNED=yes", "MODE=base"} <= set((await engine.run(answer["targetImage"])).splitlines())

    untouched = await swell.submit(containerImage=pinned)
    assert untouched["targetImage"].endswith(f"@{digest}")


@pytest.mark.row("L8")
async def test_the_same_folder_packed_twice_is_the_same_image(swell: Swell, upstreams: Upstreams) -> None:
    """Tasks with the same bundle share one image, so the digest must not change."""
    roots = set()
    for _ in range(2):
        config = {"layers": [as_data(archive({"same": b"same"}))]}
        roots.add(await root_of(swell, await swell.submit(containerImage=upstreams.image(), containerConfig=config)))

    assert len(roots) == 1


@pytest.mark.row("L10")
async def test_included_images_come_on_top_in_order(swell: Swell, upstreams: Upstreams, engine: Engine) -> None:
    """A file of the last image hides files with the same name. The base image's entrypoint runs."""

    async def pushed(tag: str, layer: Layer) -> str:
        return await push(f"{upstreams.open}/{REPOSITORY}:{tag}", layer, Env=["A=included"])

    includes = [
        await pushed("include-a", archive({"from": b"a\n", "only-a": b"a\n"})),
        await pushed("include-b", archive({"from": b"b\n"})),
    ]
    config = {"cmd": ["sh", "-c", "cat /from /only-a; env"], "layers": [as_data(archive({"from": b"layer\n"}))]}

    answer = await swell.submit(containerImage=upstreams.image(), containerIncludes=includes, containerConfig=config)

    said = (await engine.run(answer["targetImage"])).splitlines()
    assert [line for line in said if line in {"a", "b", "layer"}] == ["b", "a"]
    assert "A=included" not in said


@pytest.mark.row("L11", "L12")
async def test_commands_and_empty_values_stay_as_they_are(swell: Swell, upstreams: Upstreams) -> None:
    """A command is a list and is never split."""
    answer = await swell.submit(
        containerImage=upstreams.image(), containerConfig={"cmd": ["ls -l"], "entrypoint": [""], "env": ["NAME="]}
    )

    config = await config_of(swell, answer)

    assert (config["Cmd"], config["Entrypoint"], config["Env"][-1]) == (["ls -l"], [""], "NAME=")
