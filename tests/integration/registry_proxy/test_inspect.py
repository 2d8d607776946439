"""Inspection compared with skopeo: the same registry and images give the same results."""

import asyncio
import json
from typing import Any

import aiohttp
import msgspec
import pytest

from registry_proxy.adapters.upstream import RegistryUpstream
from registry_proxy.inspect import Inspector
from swell.errors import AddressForbidden, BadRequest, Denied, ManifestUnknown, UpstreamFailed
from swell.net.outbound import Policy, open_session
from swell.oci.platform import parse_platform
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.keyring import Keyring, parse_auth_file
from swell_embedded.ports import Ports
from tests.e2e.busybox import FORMS, REPOSITORY, push_all
from tests.integration.registry_proxy.support import Registry

INDEXES = ("docker-list", "oci-index")
NAMES = {"Env": "env", "Cmd": "cmd"}


@pytest.fixture(scope="session")
async def filled(registry: Registry) -> Registry:
    """With the image in its four forms."""
    await push_all(registry.authority, registry.basic)
    return registry


@pytest.fixture
def inspector(session: aiohttp.ClientSession, filled: Registry) -> Inspector:
    """With the operator's credentials."""
    return Inspector(RegistryUpstream(session, parse_auth_file(filled.auth_file, lambda *_: True)))


def image(registry: Registry, form: str) -> Reference:
    return parse_reference(f"{registry.authority}/{REPOSITORY}:{form}")


async def inspected(inspector: Inspector, asked: Reference, platform: str | None = None) -> Any:
    """What a client reads."""
    answer = await inspector.inspect(asked, parse_platform(platform) if platform else None)
    return json.loads(msgspec.json.encode(answer))


async def skopeo(registry: Registry, asked: Reference, *options: str) -> Any:
    creds = f"--creds={registry.user}:{registry.password}"
    command = ("skopeo", "inspect", "--tls-verify=false", creds, *options, f"docker://{asked}")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return json.loads(output)


def as_skopeo_has_it(config: dict[str, Any]) -> dict[str, Any]:
    """The part of an image's own config that Wave's API returns, in its spelling."""
    run = {NAMES[name]: value for name, value in config["config"].items()}
    return {"architecture": config["architecture"], "config": run, "rootfs": config["rootfs"]}


@pytest.mark.parametrize("form", ["docker", "oci"])
async def test_an_image_is_what_skopeo_sees(inspector: Inspector, filled: Registry, form: str) -> None:
    """Manifest, config and digests are equal."""
    asked = image(filled, form)

    container = (await inspected(inspector, asked))["container"]

    assert container["manifest"] == await skopeo(filled, asked, "--raw")
    assert container["config"] == as_skopeo_has_it(await skopeo(filled, asked, "--config", "--raw"))
    assert container["digest"] == (await skopeo(filled, asked, "--no-tags"))["Digest"]
    assert (container["hostName"], container["oci"]) == (f"http://{filled.authority}", form == "oci")


@pytest.mark.parametrize("form", INDEXES)
async def test_an_index_is_what_skopeo_sees(inspector: Inspector, filled: Registry, form: str) -> None:
    """Entries and digests are equal."""
    asked = image(filled, form)

    index = (await inspected(inspector, asked))["index"]

    assert index.pop("digest") == (await skopeo(filled, asked, "--no-tags"))["Digest"]
    assert index == await skopeo(filled, asked, "--raw")


@pytest.mark.parametrize("form", INDEXES)
@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
async def test_a_platform_of_an_index_is_what_skopeo_chooses(
    inspector: Inspector, filled: Registry, form: str, architecture: str
) -> None:
    """Both choose the same entry."""
    asked = image(filled, form)

    container = (await inspected(inspector, asked, architecture))["container"]

    chosen = await skopeo(filled, asked, "--config", "--raw", f"--override-arch={architecture}", "--override-os=linux")
    assert container["config"] == as_skopeo_has_it(chosen)
    assert container["manifest"] == await skopeo(filled, asked.at(container["digest"]), "--raw")


@pytest.mark.parametrize("form", FORMS)
async def test_a_layer_is_at_the_address_that_clients_make(inspector: Inspector, filled: Registry, form: str) -> None:
    """Wave's command line prints `hostName`/v2/`imageName`/blobs/`digest` for each layer."""
    container = (await inspected(inspector, image(filled, form), "amd64"))["container"]
    layer = container["manifest"]["layers"][0]
    url = f"{container['hostName']}/v2/{container['imageName']}/blobs/{layer['digest']}"

    async with aiohttp.ClientSession(headers={"Authorization": filled.basic}) as session, session.head(url) as found:
        assert (found.status, found.content_length) == (200, layer["size"])


async def test_errors_are_distinguished(inspector: Inspector, session: aiohttp.ClientSession, filled: Registry) -> None:
    """Missing, refused, wrong platform, unreachable, forbidden: each has another remedy."""
    unreachable = parse_reference(f"127.0.0.1:{Ports.free().registry}/team/tool:1")

    with pytest.raises(ManifestUnknown, match=f"{REPOSITORY}:none' not found"):
        await inspector.inspect(image(filled, "none"), None)
    with pytest.raises(Denied):
        await Inspector(RegistryUpstream(session, Keyring())).inspect(image(filled, "oci"), None)
    with pytest.raises(BadRequest, match="linux/amd64"):
        await inspector.inspect(image(filled, "oci-index"), parse_platform("linux/arm/v7"))
    with pytest.raises(UpstreamFailed, match="cannot be reached"):
        await inspector.inspect(unreachable, None)
    async with open_session(Policy()) as guarded:
        with pytest.raises(AddressForbidden):
            await Inspector(RegistryUpstream(guarded, Keyring())).inspect(image(filled, "oci"), None)
