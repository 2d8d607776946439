"""Secrets of builds: steps read them, and nothing else does."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from msgspec import structs

from builder.buildkit.daemons.programs import Programs
from builder.buildkit.engine import BuildkitEngine
from builder.engine import Recipe
from builder.settings import EngineSettings
from swell.api.containers import BuildOptions
from swell.store.records import Reason
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.contract import SLEEPERS, asleep, failure_of, files_with, until
from tests.integration.builder.harness import OpenEngine, Output, Registry

__all__ = ["asleep", "buildkit", "programs"]

TOKEN = b"npm_kEnXq8Rb0dQ1t5"
READ = (
    "RUN --mount=type=secret,id=token cat /run/secrets/token > /seen 2>&1 || echo none > /seen\n"
    "RUN sed s/^/read-/ /seen\n"
)


@pytest.fixture(scope="module")
async def daemons(
    registry: Registry, programs: Programs, base: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[BuildkitEngine]:
    async with Buildkit(registry, programs, base).open(tmp_path_factory.mktemp("secrets")) as engine:
        yield engine


def using(recipe: Recipe, secrets: Mapping[str, bytes]) -> Recipe:
    options = BuildOptions(build_secrets={name: f"{name}-of-operator" for name in secrets})
    return structs.replace(recipe, options=options, secrets=secrets)


def blobs(registry: Registry, repository: str) -> list[bytes]:
    """Everything that was pushed for the tag 1: the manifest, the config, and the layers, unpacked."""
    manifest, _ = registry.fetch(f"{repository}/manifests/1")
    fields = json.loads(manifest)
    digests = [fields["config"]["digest"], *(layer["digest"] for layer in fields["layers"])]
    contents = [registry.fetch(f"{repository}/blobs/{digest}")[0] for digest in digests]
    return [manifest, *(gzip.decompress(each) if each[:2] == b"\x1f\x8b" else each for each in contents)]


async def test_a_step_reads_secrets_as_files_and_variables(
    daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry
) -> None:
    """With any bytes, at a target, owner and mode of its choice; the image and its history have nothing of them."""
    binary = bytes(range(256)) * 200
    steps = (
        f"RUN --mount=type=secret,id=token test $(rev /run/secrets/token) = {TOKEN[::-1].decode()}\n"
        f"RUN --mount=type=secret,id=token,env=TOKEN test $(echo $TOKEN | rev) = {TOKEN[::-1].decode()}\n"
        "RUN --mount=type=secret,id=key.bin,target=/k/x,mode=0440,uid=7,required=true "
        "[ $(wc -c < /k/x) = 51200 ] && [ $(stat -c %u:%a /k/x) = 7:440 ]\n"
        "RUN test ! -e /run/secrets/token\n"
    )
    recipe = using(buildkit.recipe(steps, made="secrets/read:1"), {"token": TOKEN, "key.bin": binary})
    output = Output()
    await daemons.build(recipe, output)
    assert TOKEN.decode() not in output.text
    pushed = blobs(registry, "secrets/read")
    assert len(pushed) > 3
    assert not any(TOKEN in blob or binary[:512] in blob for blob in pushed)


@pytest.mark.parametrize(("other", "shown"), [({}, "none"), ({"token": b"another-content"}, "another-content")])
async def test_a_step_with_a_secret_is_not_reused_without_it(
    daemons: BuildkitEngine, buildkit: Buildkit, other: Mapping[str, bytes], shown: str
) -> None:
    """BuildKit's cache compares the ids of secrets only, so such builds never share a daemon."""
    texts = []
    for secrets in ({"token": TOKEN}, other):
        output = Output()
        await daemons.build(using(buildkit.recipe(f"ENV OTHER={shown}\n{READ}", made="secrets/a:1"), secrets), output)
        texts.append(output.text)
    assert f"read-{TOKEN.decode()}" in texts[0]
    assert f"read-{shown}" in texts[1]


async def test_a_step_with_a_proxy_of_the_client_is_not_reused_without_it(
    daemons: BuildkitEngine, buildkit: Buildkit
) -> None:
    """BuildKit's cache does not compare proxies: others would get what a step has downloaded through one."""
    recipe = buildkit.recipe("RUN echo through-[$http_proxy] > /seen\nRUN cat /seen\n", made="secrets/proxied:1")
    texts = []
    for arguments in ({"http_proxy": "http://192.0.2.1:3128"}, {}):
        output = Output()
        await daemons.build(structs.replace(recipe, options=BuildOptions(build_args=arguments)), output)
        texts.append(output.text)
    assert "through-[http://192.0.2.1:3128]" in texts[0]
    assert "through-[]" in texts[1]


async def test_a_required_secret_that_the_request_lacks_is_named(daemons: BuildkitEngine, buildkit: Buildkit) -> None:
    """The client can add it to the request."""
    recipe = using(buildkit.recipe("RUN --mount=type=secret,id=pip,required=true true\n"), {"token": TOKEN})
    failure = await failure_of(daemons, recipe)
    assert failure.reason is Reason.RECIPE
    assert "pip" in str(failure)


async def test_a_secret_is_in_no_file_while_a_step_uses_it(buildkit: Buildkit, tmp_path: Path, asleep: int) -> None:
    """It is in memory only: in a file system of buildctl, and in one of the step."""
    escape = f"(sleep {asleep} &); setsid sleep {asleep} >/dev/null 2>&1 & sleep {asleep}"
    recipe = using(buildkit.recipe(f"RUN --mount=type=secret,id=token {escape}\n"), {"token": TOKEN})
    async with buildkit.open(tmp_path / "workspace") as engine:
        build = asyncio.create_task(engine.build(recipe, Output()))
        try:
            await until(lambda: buildkit.running(asleep) == SLEEPERS, "the step")
            assert files_with(TOKEN, tmp_path) == []
        finally:
            build.cancel()
            await asyncio.wait([build])
        assert files_with(TOKEN, tmp_path) == []


async def test_buildah_refuses_secrets_by_name(open_engine: OpenEngine, buildkit: Buildkit, tmp_path: Path) -> None:
    """A build that silently lacked its secret would fail in a step, or make another image."""
    async with open_engine(tmp_path) as engine:
        failure = await failure_of(engine, using(buildkit.recipe("RUN true\n"), {"token": TOKEN}))
    assert failure.reason is Reason.ENGINE
    assert "buildSecrets need BuildKit" in str(failure)


def test_settings_name_files_by_absolute_paths() -> None:
    """A name that no request can have, or a path that depends on the working directory, is a mistake."""
    assert EngineSettings(workspace=Path("/w"), build_secrets=("npm=/run/secrets/npm",)).build_secrets
