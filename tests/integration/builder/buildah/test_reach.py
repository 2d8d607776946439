"""Builds use the operator's proxies and certificates."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from builder.engine import Recipe
from builder.settings import Isolation
from swell.registry.credentials.principal import OPERATOR
from swell.store.records import Reason
from tests.integration.builder.buildah.test_engine import failure_of
from tests.integration.builder.buildah.test_network import outer_address
from tests.integration.builder.harness import OpenEngine, Output, Registry
from tests.integration.builder.outside import NAME, PASSWORD, Outside, outside

BOTH = pytest.mark.parametrize("isolation", list(Isolation))


@pytest.fixture
async def world(registry: Registry, tmp_path: Path) -> AsyncIterator[Outside]:
    async with outside(registry, tmp_path, login="swell:secret") as world:
        yield world


@pytest.fixture
def engine_settings(world: Outside, registry: Registry, tmp_path: Path) -> dict[str, Any]:
    """Settings of an engine that has credentials for what is outside."""
    auth = {"auth": registry.authorization.removeprefix("Basic ")}
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": dict.fromkeys((NAME, world.direct, registry.address), auth)}))
    return {"pull_auth_file": path, "push_auth_file": path}


def from_and_to(registry: str, step: str = "RUN echo hello > /hello\n", made: str = "made:1") -> Recipe:
    containerfile = f"FROM {registry}/base:1\n{step}"
    return Recipe(
        principal=OPERATOR,
        push_principal=OPERATOR,
        build_id="bd-reach_1",
        target_image=f"{registry}/{made}",
        containerfile=containerfile,
    )


@BOTH
async def test_bases_and_pushes_go_through_the_proxy(
    open_engine: OpenEngine,
    base: str,
    world: Outside,
    engine_settings: dict[str, Any],
    registry: Registry,
    isolation: Isolation,
    tmp_path: Path,
) -> None:
    """Only the proxy can resolve the name, and the engine verifies the certificate."""
    way = {"https_proxy": world.proxy(), "ca_file": world.ca_file, "isolation": isolation}
    async with open_engine(tmp_path / "w", **engine_settings, **way) as engine:
        digest = await engine.build(from_and_to(NAME, made=f"{isolation}:1"), Output())

    assert registry.fetch(f"{isolation}/manifests/1")[1] == digest
    assert set(world.requests) == {f"CONNECT {NAME}:443 HTTP/1.1"}
    assert not world.strangers


async def test_own_certificates_are_trusted_only_if_configured(
    open_engine: OpenEngine,
    base: str,
    world: Outside,
    engine_settings: dict[str, Any],
    registry: Registry,
    tmp_path: Path,
) -> None:
    """Without a proxy, too."""
    async with open_engine(tmp_path / "strict", **engine_settings) as engine:
        refused = await failure_of(engine, from_and_to(world.direct))
    async with open_engine(tmp_path / "trusting", **engine_settings, ca_file=world.ca_file) as engine:
        digest = await engine.build(from_and_to(world.direct, made="trusted:1"), Output())

    assert refused.reason is Reason.BASE_IMAGE
    assert "certificate" in str(refused)
    assert registry.fetch("trusted/manifests/1")[1] == digest
    assert not world.requests


async def test_a_proxy_on_this_machines_loopback_is_reached(
    open_engine: OpenEngine, base: str, world: Outside, engine_settings: dict[str, Any], tmp_path: Path
) -> None:
    """The engine's network has a loopback of its own."""
    way = {"https_proxy": world.proxy("127.0.0.1"), "ca_file": world.ca_file}
    async with open_engine(tmp_path / "w", **engine_settings, **way) as engine:
        await engine.build(from_and_to(NAME), Output())

    assert world.requests


async def test_hosts_without_a_proxy_are_reached_directly(
    open_engine: OpenEngine, base: str, world: Outside, engine_settings: dict[str, Any], tmp_path: Path
) -> None:
    """SWELL_NO_PROXY lists such hosts."""
    way = {"https_proxy": world.proxy(), "ca_file": world.ca_file, "no_proxy": (outer_address(),)}
    async with open_engine(tmp_path / "w", **engine_settings, **way) as engine:
        await engine.build(from_and_to(world.direct), Output())

    assert not world.requests


@BOTH
async def test_steps_receive_the_proxy_if_the_operator_sets_it(
    open_engine: OpenEngine,
    base: str,
    world: Outside,
    engine_settings: dict[str, Any],
    registry: Registry,
    isolation: Isolation,
    tmp_path: Path,
) -> None:
    """Package managers find it in their environment, and the image does not have it."""
    step, output = "RUN env | grep -i proxy; wget -q -O - http://packages.example/; echo\n", Output()
    way = {"http_proxy": world.proxy(), "isolation": isolation}
    async with open_engine(tmp_path / "w", **engine_settings, **way, proxy_for_steps=True) as engine:
        digest = await engine.build(from_and_to(registry.address, step), output)

    assert b"by the proxy" in output
    assert world.requests == ["GET http://packages.example/ HTTP/1.1"]
    config = json.dumps(registry.config("made", digest))
    assert "proxy" not in config.replace("grep -i proxy", "")


@BOTH
async def test_steps_see_nothing_of_the_proxy_otherwise(
    open_engine: OpenEngine,
    base: str,
    world: Outside,
    engine_settings: dict[str, Any],
    registry: Registry,
    isolation: Isolation,
    tmp_path: Path,
) -> None:
    """The password of the proxy is not in the environment of steps, nor of any process that they can read."""
    look = "RUN env; cat /proc/*/environ /proc/*/cmdline; find / -xdev -name '*.pem' -exec cat {} +; true\n"
    output = Output()
    way = {"https_proxy": world.proxy(), "http_proxy": world.proxy(), "isolation": isolation}
    async with open_engine(tmp_path / "w", **engine_settings, **way) as engine:
        await engine.build(from_and_to(registry.address, look), output)

    assert "PATH=" in output.text
    for secret in (PASSWORD, PASSWORD.replace("@", "%40"), world.proxy(), base64.b64encode(PASSWORD.encode()).decode()):
        assert secret not in output.text


async def test_the_proxy_is_not_asked_for_what_builds_do_not_reach(
    open_engine: OpenEngine,
    base: str,
    world: Outside,
    engine_settings: dict[str, Any],
    registry: Registry,
    tmp_path: Path,
) -> None:
    """It may stand in a cloud, too, where that address gives the machine's credentials."""
    step = "ADD http://169.254.169.254/latest/meta-data /x\n"
    async with open_engine(tmp_path / "w", **engine_settings, http_proxy=world.proxy()) as engine:
        failure = await failure_of(engine, from_and_to(registry.address, step))

    assert failure.reason is Reason.RECIPE
    assert not world.requests


async def test_add_downloads_urls_through_the_proxy(
    open_engine: OpenEngine,
    base: str,
    world: Outside,
    engine_settings: dict[str, Any],
    registry: Registry,
    tmp_path: Path,
) -> None:
    """ADD is done by the engine, which uses the proxy."""
    output = Output()
    async with open_engine(tmp_path / "w", **engine_settings, http_proxy=world.proxy()) as engine:
        step = "ADD http://files.example/x /x\nRUN cat /x; echo\n"
        await engine.build(from_and_to(registry.address, step), output)

    assert b"by the proxy" in output


async def test_the_builders_own_variables_do_not_count(
    open_engine: OpenEngine,
    base: str,
    world: Outside,
    engine_settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only Swell's settings choose the proxy, not the environment of the process."""
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, world.proxy())
    async with open_engine(tmp_path / "w", **engine_settings, ca_file=world.ca_file) as engine:
        await engine.build(from_and_to(world.direct), Output())

    assert not world.requests


async def test_an_unavailable_proxy_is_named_without_its_password(
    open_engine: OpenEngine, base: str, engine_settings: dict[str, Any], tmp_path: Path
) -> None:
    """The operator reads it in the failure; a user may, too."""
    async with open_engine(
        tmp_path / "w", **engine_settings, https_proxy="http://ada:pr0xy%40password@127.0.0.1:9"
    ) as engine:
        failure = await failure_of(engine, from_and_to(NAME))

    assert failure.reason is Reason.BASE_IMAGE
    assert "pr0xy" not in str(failure)
