"""Which blobs a build has: those of its layer cache."""

from unittest.mock import AsyncMock, Mock

import pytest

from builder.buildkit.network.possession import Possession
from swell.oci.reference import parse_reference

TARGET = parse_reference("registry.example.org/team/tool:1")


@pytest.mark.parametrize("second", [b"layers", b"Layers", b"LAYERS", b"layer\xc5\xbf"])
async def test_a_manifest_with_two_lists_of_layers_gives_no_blobs(second: bytes) -> None:
    """The registry has checked that its repository has the layers of one of them only."""
    possession = Possession(Mock(has_blob=AsyncMock(return_value=True)), ())

    possession.add_cached(TARGET, b'{"layers":[{"digest":"sha256:a"}],"' + second + b'":[{"digest":"sha256:b"}]}')
    assert not await possession.may_reuse(TARGET, "sha256:a")
    assert not await possession.may_reuse(TARGET, "sha256:b")


async def test_a_deeply_nested_manifest_gives_no_blobs() -> None:
    """A layer cache may be in a registry of a stranger; its manifest must not end the build with an error of ours."""
    possession = Possession(Mock(has_blob=AsyncMock(return_value=True)), ())

    possession.add_cached(
        TARGET, b'{"layers":[{"digest":"sha256:a"}],"later":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    )
    assert not await possession.may_reuse(TARGET, "sha256:a")

    possession.add_cached(TARGET, b'{"layers":[{"digest":"sha256:a"}]}')
    assert await possession.may_reuse(TARGET, "sha256:a")


async def test_the_repository_of_the_cache_must_have_the_blob() -> None:
    """The cache may belong to a client, and its registry may take manifests that name any digest."""
    possession = Possession(Mock(has_blob=AsyncMock(return_value=False)), ())

    possession.add_cached(TARGET, b'{"layers":[{"digest":"sha256:a"}]}')
    assert not await possession.may_reuse(TARGET, "sha256:a")
    possession.daemon_has = lambda _: True
    assert await possession.may_reuse(TARGET, "sha256:a")
