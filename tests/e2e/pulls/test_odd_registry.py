"""A sample of the odd registry, through all of Swell. The integration tests of the client have all rows."""

import json

import pytest

from swell.testing.odd_registry.server import IMAGE, OddRegistry, Row
from swell.testing.odd_registry.table import ROWS
from tests.e2e.client import Swell

BY_NAME = {row.name: row for row in ROWS}
WORKING = [
    "auth-usual",
    "auth-realm-elsewhere",
    "auth-rotating-realms",
    "auth-two-schemes",
    "head-404",
    "head-closed",
    "layer-chunked",
    "manifest-503-once",
    "manifest-chunked",
    "manifest-gzip",
    "manifest-redirect-307",
    "manifest-type-of-docker",
    "manifest-without-type",
]
FAILING = [
    "auth-relative-realm",
    "auth-token-403",
    "kind-byte-order-mark",
    "kind-layers-and-manifests",
    "limit-seconds",
    "manifest-404",
    "manifest-503",
    "manifest-closed",
    "manifest-html",
    "manifest-redirect-to-metadata",
    "manifest-wrong-digest",
]


def image(odd: OddRegistry, row: Row) -> str:
    return f"{odd.authority}/{row.repository}:{row.reference}"


async def pull(swell: Swell, odd: OddRegistry, row: Row) -> tuple[bytes, bytes]:
    """Pull the manifest and the layer of *row*, as a client does without additions."""
    answer = await swell.submit(containerImage=image(odd, row))
    base = f"/v2/wt/{answer['containerToken']}/{row.repository}"
    manifest = await swell.bytes(f"{base}/manifests/{row.reference}")
    return manifest, await swell.bytes(f"{base}/blobs/{IMAGE.manifest.layers[0].digest}")


@pytest.mark.parametrize("name", WORKING)
async def test_images_of_odd_registries_are_pulled(swell: Swell, odd: OddRegistry, name: str) -> None:
    """Docker can pull these images, so Swell must."""
    assert await pull(swell, odd, BY_NAME[name]) == (IMAGE.manifest.content, IMAGE.layers[0].gzipped)


@pytest.mark.parametrize("name", FAILING)
async def test_an_image_that_cannot_be_pulled_is_refused_with_a_reason(
    swell: Swell, odd: OddRegistry, name: str
) -> None:
    """The response to the POST has the reason, because a person reads it; it is never an internal error."""
    status, answer = await swell.post(containerImage=image(odd, BY_NAME[name]))

    assert 400 <= status < 600
    assert status != 500
    assert answer["message"]
    assert "secret" not in json.dumps(answer)


async def test_one_broken_image_does_not_block_others_of_its_registry(swell: Swell, odd: OddRegistry) -> None:
    """Five requests for an image with 503 once blocked the whole registry for all users."""
    for _ in range(6):
        status, _ = await swell.post(containerImage=image(odd, BY_NAME["manifest-503"]))
        assert status in {502, 503}

    for name in ("manifest-chunked", "head-404", "auth-usual"):
        await pull(swell, odd, BY_NAME[name])


async def test_a_missing_platform_is_refused(swell: Swell, odd: OddRegistry) -> None:
    """The message names the platform that exists. Windows is refused like every platform without an image."""
    row = BY_NAME["manifest-chunked"]

    status, answer = await swell.post(containerImage=image(odd, row), containerPlatform="linux/arm64")
    refused, _ = await swell.post(containerImage=image(odd, row), containerPlatform="windows/amd64")
    newer, _ = await swell.post(containerImage=image(odd, row), containerPlatform="linux/amd64/v2")

    assert (status, refused, newer) == (400, 400, 200)
    assert "for linux/arm64, but for linux/amd64" in answer["message"]
