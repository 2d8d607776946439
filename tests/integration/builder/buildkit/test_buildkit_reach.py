"""BuildKit reaches registries as the settings say: by proxies, and with certificates of the operator's own."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.builder.buildah.test_reach import engine_settings, from_and_to, world
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.contract import failure_of
from tests.integration.builder.harness import Output, Registry
from tests.integration.builder.outside import NAME, PASSWORD, Outside

__all__ = ["buildkit", "engine_settings", "programs", "world"]


async def test_bases_and_pushes_go_through_the_operators_proxy(
    buildkit: Buildkit, world: Outside, engine_settings: dict[str, Any], registry: Registry, tmp_path: Path
) -> None:
    """Only the proxy can resolve the name; BuildKit itself checks the certificate."""
    settings: dict[str, Any] = {"https_proxy": world.proxy(), "ca_file": world.ca_file}
    async with buildkit.open(tmp_path / "w", **engine_settings, **settings) as engine:
        digest = await engine.build(from_and_to(NAME, made="proxied:1"), Output())
    assert registry.fetch("proxied/manifests/1")[1] == digest
    assert set(world.requests) == {f"CONNECT {NAME}:443 HTTP/1.1"}
    assert not world.strangers


async def test_certificates_of_the_operators_own_are_trusted_when_they_are_set(
    buildkit: Buildkit, world: Outside, engine_settings: dict[str, Any], registry: Registry, tmp_path: Path
) -> None:
    """And only then."""
    allowed = frozenset({registry.address, world.direct})
    async with buildkit.open(tmp_path / "strict", **engine_settings, allowed_hosts=allowed) as engine:
        refused = await failure_of(engine, from_and_to(world.direct))
    async with buildkit.open(
        tmp_path / "trusting", **engine_settings, allowed_hosts=allowed, ca_file=world.ca_file
    ) as engine:
        digest = await engine.build(from_and_to(world.direct, made="trusted:2"), Output())
    assert "certificate" in str(refused)
    assert registry.fetch("trusted/manifests/2")[1] == digest
    assert not world.requests


@pytest.mark.parametrize("wanted", [True, False])
async def test_steps_see_the_proxy_only_when_the_operator_wants_that(
    buildkit: Buildkit,
    world: Outside,
    engine_settings: dict[str, Any],
    registry: Registry,
    wanted: bool,
    tmp_path: Path,
) -> None:
    """Its address has a password in it."""
    output = Output()
    async with buildkit.open(
        tmp_path, **engine_settings, http_proxy=world.proxy(), https_proxy=world.proxy(), proxy_for_steps=wanted
    ) as engine:
        await engine.build(buildkit.recipe("RUN env\n"), output)
    assert (PASSWORD.replace("@", "%40") in output.text) is wanted
