"""Pulled images contain what clients requested, and they run."""

import json
from typing import Any

import pytest

from tests.e2e.busybox import FORMS, archive, document_of, make_base
from tests.e2e.client import Swell, as_data, as_link
from tests.e2e.engines import Engine
from tests.e2e.upstreams import Upstreams, Web

TOOL = archive({"opt/tool": b'#!/bin/sh\npwd\necho "args: $*"\nenv\n'})
"""A program that prints its arguments, working directory and environment."""

ADDED = {
    "entrypoint": ["/opt/tool"],
    "cmd": ["--fast", "--quiet"],
    "env": ["MODE=added", "FOO=bar"],
    "workingDir": "/opt",
}
HAVING_RUN = {"/opt", "args: --fast --quiet", "MODE=added", "FOO=bar", "BUILT_FOR=amd64", "PATH=/bin"}


@pytest.mark.parametrize("form", FORMS)
async def test_additions_to_an_image_are_there_when_it_runs(
    swell: Swell, upstreams: Upstreams, engine: Engine, form: str
) -> None:
    """The image keeps its own fields. A repeated variable keeps its position and gets the new value."""
    config = ADDED | {"layers": [as_data(TOOL)]}
    answer = await swell.submit(containerImage=upstreams.image(form), containerConfig=config)

    said = set((await engine.run(answer["targetImage"])).splitlines())

    assert said >= HAVING_RUN
    assert "MODE=base" not in said


async def test_a_built_image_has_the_results_of_steps_context_and_environment(
    swell: Swell, upstreams: Upstreams, engine: Engine
) -> None:
    """RUN, COPY and ENV each leave something that the running image can show."""
    containerfile = f"""
        FROM {upstreams.image()}
        RUN echo "6 times 7 is $((6 * 7))" > /made.txt
        COPY data/note.txt /note.txt
        ENV FOO=built
        CMD ["sh", "-c", "cat /made.txt /note.txt; env"]
    """
    context = archive({"data/note.txt": b"from the context\n", "unused": b""})
    answer = await swell.build(containerfile, buildContext=as_data(context))

    said = set((await engine.run(answer["targetImage"])).splitlines())

    assert said >= {"6 times 7 is 42", "from the context", "FOO=built", "MODE=base"}


async def test_contexts_and_layers_can_be_urls(swell: Swell, upstreams: Upstreams, web: Web, engine: Engine) -> None:
    """Large ones do not fit into a request. Swell fetches them from their location, for builds too."""
    context = archive({"note.txt": b"from the web\n"})
    layer = as_link(TOOL, web.add("tool.tar.gz", TOOL.gzipped))
    answer = await swell.build(
        f"FROM {upstreams.image()}\nCOPY note.txt /note.txt\nENV NOTE=/note.txt\n",
        buildContext=as_link(context, web.add("context.tar.gz", context.gzipped)),
        containerConfig={"entrypoint": ["/bin/sh", "-c", "cat $NOTE; exec /opt/tool"], "layers": [layer]},
    )

    said = set((await engine.run(answer["targetImage"])).splitlines())

    assert said >= {"from the web", "NOTE=/note.txt", "MODE=base"}


@pytest.mark.parametrize("form", ["docker-list", "oci-index"])
async def test_other_platforms_of_an_image_are_not_changed(swell: Swell, upstreams: Upstreams, form: str) -> None:
    """The request adds to amd64 only. Clients that pull arm64 get the original, byte for byte."""
    answer = await swell.submit(containerImage=upstreams.image(form), containerConfig=ADDED)
    name = "/v2/" + answer["targetImage"].partition("/")[2].rpartition(":")[0]
    twin = make_base("arm64", docker=form == "docker-list")

    index: dict[str, Any] = json.loads(await swell.bytes(f"{name}/manifests/{form}"))

    digests = {entry["platform"]["architecture"]: entry["digest"] for entry in index["manifests"]}
    assert digests["arm64"] == twin.manifest.digest
    assert digests["amd64"] != make_base("amd64", docker=form == "docker-list").manifest.digest
    assert await swell.bytes(f"{name}/manifests/{twin.manifest.digest}") == twin.manifest.content
    assert await swell.bytes(f"{name}/blobs/{twin.config.digest}") == twin.config.content


@pytest.mark.parametrize("form", FORMS)
async def test_an_image_without_additions_keeps_its_digest(swell: Swell, upstreams: Upstreams, form: str) -> None:
    """Signatures and lock files refer to digests."""
    answer = await swell.submit(containerImage=upstreams.image(form))
    name = answer["targetImage"].partition("/")[2].rpartition(":")[0]

    assert await swell.bytes(f"/v2/{name}/manifests/{form}") == document_of(form).content
