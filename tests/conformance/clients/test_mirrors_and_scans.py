"""Mirrors and scans as Wave's clients request, await and read them; with the stand-ins of both clients."""

from datetime import timedelta

import pytest
import yaml

from swell.net.outbound import Policy, open_session
from swell.oci.digest import Digest
from swell.oci.reference import parse_reference
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import parse_auth_file
from swell.registry.credentials.principal import OPERATOR
from swell.registry.push import fetch_document
from swell.testing import rootfs
from swell.testing.images import Layer
from tests.conformance.clients.nf_wave import NfWave, TaskFailed
from tests.conformance.clients.wave_cli import Output, WaveCli
from tests.e2e.busybox import push
from tests.e2e.client import PUSHER
from tests.e2e.upstreams import Upstreams

WAIT = timedelta(hours=2)  # two minutes and a half of real time


async def digest_of(image: str, upstreams: Upstreams) -> Digest | None:
    """The digest of *image* in one of the registries of the tests; None without one."""
    keyring = parse_auth_file(upstreams.auth_file.read_bytes())
    async with open_session(Policy(frozenset(upstreams.hosts))) as session:
        document = await fetch_document(RegistryClient(session, keyring).acting_for(OPERATOR), parse_reference(image))
        return document.digest if document else None


async def packaged(upstreams: Upstreams, name: str) -> str:
    """Push an image with a HIGH and a LOW vulnerability."""
    packages = rootfs.debian({"libdemo": "1.0-1", "tiny": "2.0"})
    return await push(f"{upstreams.open}/acme/{name}:1", Layer(*rootfs.layer_of(packages)))


@pytest.mark.row("B6", "R7", "E7", "S13")
@pytest.mark.parametrize("client", ["cli", "nf-wave"])
async def test_a_mirror_is_awaited_and_has_the_digest_of_its_source(
    cli: WaveCli, nf_wave: NfWave, upstreams: Upstreams, client: str
) -> None:
    """`wave --mirror --await` and `wave.mirror = true`: the printed name is the copy, in the client's registry."""
    image = await packaged(upstreams, f"mirrored-{client}")
    request = {
        "containerImage": image,
        "mirror": True,
        "buildRepository": f"{upstreams.basic}/mirrors",
        "towerAccessToken": PUSHER,
    }
    if client == "cli":
        ran = await cli.run(request, wait=WAIT)
        assert (ran.code, ran.stderr) == (0, "")
        target = ran.stdout.strip()
    else:
        container = await nf_wave.submit(request)
        assert container.build_id is not None and container.build_id.startswith("mr-")
        target = (await nf_wave.ready(container)).image

    assert target == f"{upstreams.basic}/mirrors/acme/mirrored-{client}:1"
    assert await digest_of(target, upstreams) == await digest_of(image, upstreams) is not None


@pytest.mark.row("R8", "S3", "S11", "S12")
async def test_a_required_scan_is_awaited_and_decides(cli: WaveCli, nf_wave: NfWave, upstreams: Upstreams) -> None:
    """`--scan-mode required --scan-level`, and `wave.scan`: a refused image fails the command and the task."""
    image = await packaged(upstreams, "judged")
    strict = {"containerImage": image, "scanMode": "required", "scanLevels": ["LOW"]}
    tolerant = strict | {"scanLevels": ["LOW", "HIGH"]}

    refused, accepted = await cli.run(strict, wait=WAIT), await cli.run(tolerant, Output.YAML, wait=WAIT)

    assert refused.code == 1 and "HIGH" in refused.stderr and "/view/scans/sc-" in refused.stderr
    assert accepted.code == 0 and yaml.safe_load(accepted.stdout)["vulnerabilities"] == {"HIGH": 1, "LOW": 1}
    with pytest.raises(TaskFailed, match="HIGH"):
        await nf_wave.ready(await nf_wave.submit(strict))
    assert (await nf_wave.ready(await nf_wave.submit(tolerant))).image


@pytest.mark.row("S4")
async def test_an_async_scan_is_not_awaited(cli: WaveCli, nf_wave: NfWave, upstreams: Upstreams) -> None:
    """The command prints the image, and the task starts before the scan has a result."""
    request = {"containerImage": await packaged(upstreams, "not-awaited"), "scanMode": "async"}

    ran = await cli.run(request, wait=WAIT)

    assert ran.code == 0 and "/wt/" in ran.stdout
    assert (await nf_wave.ready(await nf_wave.submit(request), polls=3)).image
