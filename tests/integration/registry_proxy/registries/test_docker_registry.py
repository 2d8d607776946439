"""Pulls from a real registry with HTTP Basic."""

import uuid

import aiohttp
import pytest

from registry_proxy.adapters.upstream import RegistryUpstream
from registry_proxy.deliver.transfer import Body
from swell.errors import BlobUnknown, Denied, ManifestUnknown
from swell.oci.digest import digest_of
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.keyring import Keyring, parse_auth_file
from swell.registry.credentials.principal import OPERATOR
from tests.integration.registry_proxy.support import Pushed, Registry, make_image


@pytest.fixture
def image() -> Pushed:
    return make_image(uuid.uuid4().hex)


@pytest.fixture
async def reference(registry: Registry, image: Pushed) -> Reference:
    await registry.push("team/tool", "1", image)
    return parse_reference(f"{registry.authority}/team/tool:1")


@pytest.fixture
async def trusted(session: aiohttp.ClientSession, registry: Registry) -> RegistryUpstream:
    """With the credentials of the operator's auth file."""
    return RegistryUpstream(session, parse_auth_file(registry.auth_file)).acting_for(OPERATOR)


async def test_a_private_image_is_read_whole(trusted: RegistryUpstream, reference: Reference, image: Pushed) -> None:
    """Manifest by tag and by digest, config and layer: all that a pull needs."""
    manifest = await trusted.fetch_manifest(reference)
    config = await trusted.fetch_config(reference, manifest.config)
    async with trusted.open_blob(reference, manifest.layers[0].digest) as found:
        assert isinstance(found, Body)
        layer = b"".join([piece async for piece in found.pieces])

    assert (manifest.content, config.content, layer) == (image.manifest, image.config, image.layer)
    assert found.size == len(image.layer)
    assert await trusted.fetch_manifest(reference.at(manifest.digest)) == manifest
    assert await trusted.head_manifest(reference) == manifest.digest


async def test_without_credentials_it_is_denied(session: aiohttp.ClientSession, reference: Reference) -> None:
    """And not "unknown": the image may well be there."""
    with pytest.raises(Denied):
        await RegistryUpstream(session, Keyring()).fetch_manifest(reference)


async def test_with_wrong_credentials_it_is_denied(session: aiohttp.ClientSession, reference: Reference) -> None:
    """After one try: a registry may lock an account that keeps trying."""
    wrong = Registry(reference.registry, password="wrong")

    with pytest.raises(Denied):
        await RegistryUpstream(session, parse_auth_file(wrong.auth_file)).acting_for(OPERATOR).head_manifest(reference)


async def test_what_is_not_there_is_unknown(trusted: RegistryUpstream, reference: Reference) -> None:
    """By tag, by digest, as a blob, and in a missing repository."""
    for absent in (
        reference.at("2"),
        reference.at(digest_of(b"x")),
        parse_reference(f"{reference.registry}/no/body:1"),
    ):
        with pytest.raises(ManifestUnknown, match="not found"):
            await trusted.fetch_manifest(absent)
        with pytest.raises(ManifestUnknown, match="not found"):
            await trusted.head_manifest(absent)
    with pytest.raises(BlobUnknown):
        async with trusted.open_blob(reference, digest_of(b"x")):
            pass
