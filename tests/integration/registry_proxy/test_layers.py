"""Layers by URL are fetched once, verified and stored."""

import asyncio
import gzip

import aiohttp
import pytest
from msgspec import structs

from registry_proxy.adapters.layers import Layers
from registry_proxy.adapters.upstream import RegistryUpstream
from swell.api.containers import ContainerLayer
from swell.errors import AddressForbidden, BadRequest, BlobUnknown, DigestInvalid, SwellError, TooLarge, UpstreamFailed
from swell.net.outbound import Policy, open_session
from swell.oci.digest import digest_of
from swell.registry.credentials.keyring import Keyring
from swell.store.blobs import Blobs
from swell.store.objects import MemoryObjects
from tests.integration.registry_proxy.support import (
    Answer,
    Gate,
    Script,
    broken_off,
    eventually,
    make_image,
    said,
)
from tests.unit.registry_proxy.memory import MemoryProofs

IMAGE = make_image()
DIGEST = digest_of(IMAGE.layer)


def layer_at(script: Script) -> ContainerLayer:
    return ContainerLayer(
        location=str(script.url / "layer.tar.gz"),
        gzip_digest=DIGEST,
        gzip_size=len(IMAGE.layer),
        tar_digest=digest_of(IMAGE.tar),
    )


@pytest.fixture
def blobs() -> Blobs:
    return Blobs(MemoryObjects())


@pytest.fixture
async def layers(session: aiohttp.ClientSession, blobs: Blobs) -> Layers:
    upstream = RegistryUpstream(session, Keyring())
    return Layers(session, upstream, blobs, MemoryProofs(), limit=1 << 20, tar_limit=1 << 20)


async def kept(blobs: Blobs) -> bytes:
    async with blobs.open(DIGEST) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_a_layer_is_fetched_once_for_all_who_ask(script: Script, layers: Layers, blobs: Blobs) -> None:
    """Also for those who come later: it is in the store then, and its server may be gone."""
    script.on("/layer.tar.gz", said(302, Location="/there"))
    script.on("/there", said(body=IMAGE.layer))

    await asyncio.gather(*(layers.ensure(layer_at(script)) for _ in range(20)))
    await layers.ensure(layer_at(script))

    assert await kept(blobs) == IMAGE.layer
    assert len(script.asked("/there")) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (said(404), BlobUnknown),
        (said(500), UpstreamFailed),
        (said(body=make_image("other").layer), DigestInvalid),
        (said(body=gzip.compress(bytes(8 << 20))), TooLarge),
        (said(body=bytes(2 << 20)), BadRequest),
        (said(body=b"<html>not found</html>"), BadRequest),
        (broken_off(IMAGE.layer[:50], len(IMAGE.layer)), UpstreamFailed),
    ],
)
async def test_what_is_not_the_layer_is_never_kept(
    script: Script, layers: Layers, blobs: Blobs, answer: Answer, error: type[SwellError]
) -> None:
    """An error page kept as a layer would break every later pull."""
    script.on("/layer.tar.gz", answer)

    with pytest.raises(error):
        await layers.ensure(layer_at(script))

    assert await blobs.size(DIGEST) is None


async def test_a_layer_larger_than_the_limit_is_not_read_to_its_end(
    script: Script, session: aiohttp.ClientSession, blobs: Blobs
) -> None:
    """A user's URL must not fill the disk."""
    script.on("/layer.tar.gz", said(body=IMAGE.layer))

    with pytest.raises(TooLarge):
        await Layers(session, RegistryUpstream(session, Keyring()), blobs, MemoryProofs(), limit=100).ensure(
            layer_at(script)
        )


@pytest.mark.parametrize("missing", ["gzip_digest", "gzip_size", "tar_digest"])
async def test_a_layer_that_does_not_say_what_it_is_is_refused(script: Script, layers: Layers, missing: str) -> None:
    """The manifest that names it is made before it is here."""
    with pytest.raises(BadRequest, match="gzipDigest, gzipSize and tarDigest"):
        await layers.ensure(structs.replace(layer_at(script), **{missing: None}))


async def test_a_wrong_size_is_found(script: Script, layers: Layers, blobs: Blobs) -> None:
    """A manifest with that size could not be pulled."""
    await blobs.put(DIGEST, IMAGE.layer)
    script.on("/layer.tar.gz", said(body=IMAGE.layer))

    for location in (layer_at(script).location, "data:"):
        with pytest.raises(DigestInvalid):
            await layers.ensure(structs.replace(layer_at(script), gzip_size=7, location=location))


async def test_the_digest_of_a_stored_layer_gives_no_access(script: Script, layers: Layers, blobs: Blobs) -> None:
    """Another user sent its bytes; this request's own location must send them as well."""
    await blobs.put(DIGEST, IMAGE.layer)
    theirs, mine = layer_at(script), structs.replace(layer_at(script), location=f"{script.url}/mine")
    script.on("/layer.tar.gz", said(body=IMAGE.layer))
    script.on("/mine", said(body=make_image("other").layer))
    await layers.ensure(theirs)

    with pytest.raises(BlobUnknown):
        await layers.ensure(structs.replace(mine, location=f"{script.url}/nothing"))
    with pytest.raises(DigestInvalid):
        await layers.ensure(mine)


async def test_a_location_is_fetched_again_after_an_hour(
    script: Script, session: aiohttp.ClientSession, blobs: Blobs
) -> None:
    """What was behind it may have been taken away meanwhile; while its server is down, a day is no matter."""
    now = [1e9]
    upstream = RegistryUpstream(session, Keyring())
    layers = Layers(session, upstream, blobs, MemoryProofs(), now=lambda: now[0])
    script.on("/layer.tar.gz", said(body=IMAGE.layer))
    await layers.ensure(layer_at(script))
    await layers.ensure(layer_at(script))
    assert len(script.seen) == 1

    now[0] += 3601
    await layers.ensure(layer_at(script))
    assert len(script.seen) == 2

    script.on("/layer.tar.gz", said(500))
    now[0] += 3601
    await layers.ensure(layer_at(script))
    now[0] += 24 * 3600
    with pytest.raises(UpstreamFailed):
        await layers.ensure(layer_at(script))

    script.on("/layer.tar.gz", said(404))
    now[0] -= 24 * 3600
    with pytest.raises(BlobUnknown):
        await layers.ensure(layer_at(script))


async def test_slow_servers_of_layers_hold_up_their_own_layers_only(
    script: Script, other: Script, layers: Layers
) -> None:
    """Many layers of a host that sends nothing leave slots for another host."""
    gate = Gate(IMAGE.layer)
    script.on("/layer.tar.gz", gate)
    stuck = [structs.replace(layer_at(script), location=f"{script.url}/layer.tar.gz?{number}") for number in range(10)]
    tasks = [asyncio.create_task(layers.ensure(layer)) for layer in stuck]
    await eventually(script.is_asked)
    other.on("/layer.tar.gz", said(body=IMAGE.layer))

    async with asyncio.timeout(30):
        await layers.ensure(layer_at(other))

    gate.open()
    await asyncio.gather(*tasks)


async def test_a_submitted_layer_must_be_in_the_store(script: Script, layers: Layers, blobs: Blobs) -> None:
    """The gateway put it there; we have no other place to look."""
    submitted = structs.replace(layer_at(script), location="data:")

    with pytest.raises(BlobUnknown):
        await layers.ensure(submitted)
    await blobs.put(DIGEST, IMAGE.layer)
    await layers.ensure(submitted)


async def test_a_layer_at_a_forbidden_address_is_not_fetched(script: Script, blobs: Blobs) -> None:
    """A location is a user's word."""
    async with open_session(Policy()) as session:
        with pytest.raises(AddressForbidden):
            await Layers(session, RegistryUpstream(session, Keyring()), blobs, MemoryProofs()).ensure(layer_at(script))

    assert not script.seen


async def test_a_false_tar_digest_of_a_stored_layer_is_found(script: Script, layers: Layers, blobs: Blobs) -> None:
    """It would become a wrong diff_id in an image, which engines refuse or confuse."""
    script.on("/layer.tar.gz", said(body=IMAGE.layer))
    await layers.ensure(layer_at(script))
    assert await blobs.size(DIGEST)

    for _ in range(2):
        with pytest.raises(DigestInvalid, match=f"tarDigest is {digest_of(IMAGE.tar)}"):
            await layers.ensure(structs.replace(layer_at(script), tar_digest=digest_of(b"another tar")))
    await layers.ensure(layer_at(script))
