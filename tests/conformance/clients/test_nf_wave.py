"""Nextflow's plugin with the running stack: when its tasks start, and with which container."""

from pathlib import Path

import pytest

from swell_embedded.stack import Stack
from tests.conformance.clients.faulty_proxy import Fault, faulty_proxy
from tests.conformance.clients.nf_wave import NfWave, TaskFailed
from tests.conformance.clients.wave_cli import WaveCli
from tests.conformance.clients.wire import Clock
from tests.e2e.busybox import archive
from tests.e2e.client import Swell, as_data, as_link, encoded
from tests.e2e.engines import Engine
from tests.e2e.environment import gateway_beside
from tests.e2e.upstreams import Upstreams, Web, running


@pytest.mark.row("B2", "R2", "S14")
async def test_a_plain_image_is_ready_at_once(nf_wave: NfWave, upstreams: Upstreams) -> None:
    """No build is needed, so the task must not wait."""
    container = await nf_wave.submit({"containerImage": upstreams.image()})

    assert container.is_ready
    assert container.request_id
    assert await nf_wave.is_ready(container.request_id)


@pytest.mark.row("S1", "S2", "S5", "S6")
async def test_a_task_waits_for_its_build(nf_wave: NfWave, upstreams: Upstreams) -> None:
    """The plugin polls until the build is done."""
    file = encoded(f"FROM {upstreams.image()}\nENV TASK=waits\n")

    container = await nf_wave.submit({"containerFile": file})

    assert not container.is_ready
    await nf_wave.ready(container)


@pytest.mark.row("S9")
async def test_a_task_fails_with_the_reason_and_the_address_of_the_log(nf_wave: NfWave, upstreams: Upstreams) -> None:
    """The user of a workflow sees only this message."""
    file = encoded(f"FROM {upstreams.image()}\nRUN exit 4\n")

    with pytest.raises(TaskFailed, match=rf".+ {nf_wave.wire.endpoint}/"):
        await nf_wave.ready(await nf_wave.submit({"containerFile": file}))


@pytest.mark.row("T10", "T11")
@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_the_plugin_obeys_retry_after(swell: Swell, upstreams: Upstreams, status: int) -> None:
    """The same bytes are sent again, so a repeated request starts no second build."""
    async with faulty_proxy(swell.url) as proxy:
        proxy.faults = [Fault(status, {"Retry-After": "7"}, unseen=True), Fault(status)]
        nf_wave = NfWave(proxy.url, Clock())
        await nf_wave.submit({"containerImage": upstreams.image()})

    assert nf_wave.wire.clock.slept == [7.0, 0.9]
    assert len({body for _, body in nf_wave.wire.attempts}) == 1


@pytest.mark.row("T10")
async def test_the_retry_after_of_the_limit_is_sufficient(stack: Stack, upstreams: Upstreams, tmp_path: Path) -> None:
    """The next attempt succeeds; the command line shows the limit."""
    url, gateway = gateway_beside(stack, "limited", ANONYMOUS_BUILD_LIMIT="1/10s")
    async with running(gateway, tmp_path):
        nf_wave, cli = NfWave(url, Clock(pace=1)), WaveCli(url)
        files = [{"containerFile": encoded(f"FROM {upstreams.image()}\nENV LIMITED={number}\n")} for number in range(3)]
        await nf_wave.submit(files[0])
        refused = await cli.run(files[1])
        await nf_wave.submit(files[2])

    assert (refused.code, refused.stderr[:5]) == (1, "[429]")
    assert "the build limit of 1/10s" in refused.stderr
    assert len(nf_wave.wire.clock.slept) == 1


@pytest.mark.row("E5", "L3")
async def test_the_program_of_a_bundle_runs_at_its_path(nf_wave: NfWave, upstreams: Upstreams, engine: Engine) -> None:
    """A module brings its own programs, packed with their folders, for the image of its tasks."""
    bundle = archive(
        {"usr/local/bin/hello": b"#!/bin/sh\necho bundled\n"}, folders=("usr/", "usr/local/", "usr/local/bin/")
    )
    config = {"layers": [as_data(bundle) | {"skipHashing": None}], "cmd": ["/usr/local/bin/hello"]}
    config |= dict.fromkeys(("entrypoint", "env", "workingDir"))

    container = await nf_wave.submit({"containerImage": upstreams.image(), "containerConfig": config})

    assert "bundled" in (await engine.run(container.image)).splitlines()


@pytest.mark.row("E6", "B27", "L7")
async def test_fusion_takes_the_entrypoint_and_calls_the_images_own(
    nf_wave: NfWave, upstreams: Upstreams, web: Web, engine: Engine
) -> None:
    """Its layer is a URL for the architecture of the image. Its entrypoint replaces that of the image."""
    fusion = {
        name: archive({"opt/fusion": f"#!/bin/sh\necho fusion for {name}: $FUSION\n".encode()})
        for name in ("amd64", "arm64")
    }
    layers = [as_link(layer, web.add(f"fusion-{name}.tar.gz", layer.gzipped)) for name, layer in fusion.items()]
    config = {"entrypoint": ["/opt/fusion"], "env": ["FUSION=on"], "layers": layers, "cmd": None, "workingDir": None}

    container = await nf_wave.submit({"containerImage": upstreams.image("oci-index"), "containerConfig": config})

    assert "fusion for amd64: on" in (await engine.run(container.image)).splitlines()
