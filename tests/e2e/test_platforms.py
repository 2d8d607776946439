"""Builds for machines that the builder's is not."""

from collections.abc import AsyncIterator

import pytest

from builder.adapters.emulation import Emulators
from tests.e2e.busybox import archive
from tests.e2e.client import Fields, Swell, as_data, client_of, encoded, until
from tests.e2e.conftest import OpenStack
from tests.e2e.test_requests import SAMTOOLS
from tests.e2e.test_shapes import BOTH
from tests.e2e.upstreams import Upstreams
from tests.integration.builder.test_platforms import SAID, arm64_program

ARM64 = "linux/arm64"
RECIPE = {"containerFile": encoded("FROM debian\nRUN true\n")}


@pytest.fixture(scope="module")
async def narrow(new_stack: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Swell]:
    """A client of a server whose builder is there for amd64 alone, who comes when it has told so."""
    async with (
        new_stack(tmp_path_factory.mktemp("narrow"), BUILD_PLATFORMS="linux/amd64") as stack,
        client_of(stack.url) as client,
    ):

        async def is_told() -> bool:
            status, answer = await client.post(**RECIPE, containerPlatform=ARM64, dryRun=True)
            assert status == 200 or answer["code"] == "UNSUPPORTED", answer
            return status != 200

        await until(is_told)
        yield client


@pytest.mark.parametrize("platform", [ARM64, BOTH])
@pytest.mark.parametrize("dry", [False, True])
async def test_steps_that_no_builder_runs_are_refused_at_once(
    narrow: Swell, upstreams: Upstreams, platform: str, dry: bool
) -> None:
    """The answer says for which platform, what lacks and what to do; of two platforms none is built."""
    containerfile = encoded(f"FROM {upstreams.image('oci-index')}\nRUN echo {platform}\n")

    status, answer = await narrow.post(containerFile=containerfile, containerPlatform=platform, dryRun=dry)

    assert (status, answer["code"], answer["side"]) == (501, "UNSUPPORTED", "server")
    assert f"{ARM64}; what it lacks: {ARM64} in SWELL_BUILD_PLATFORMS" in answer["message"]
    assert "RUN" in answer["next"]
    assert "containerToken" not in answer


async def test_files_are_put_together_for_any_platform(narrow: Swell, upstreams: Upstreams) -> None:
    containerfile = f"FROM {upstreams.image('oci-index')}\nCOPY hello /\n"
    context = as_data(archive({"hello": b"hello"}))

    answer = await narrow.build(containerfile, buildContext=context, containerPlatform=BOTH)

    assert (await narrow.ended(answer["buildId"]))["succeeded"], await narrow.log(answer["buildId"])


@pytest.mark.parametrize(("template", "status"), [("conda/micromamba:v2", 501), ("conda/direct:v1", 200)])
async def test_conda_packages_become_layers_for_any_platform(narrow: Swell, template: str, status: int) -> None:
    """Without a container there is nothing to run; with one there is."""
    wish = {"packages": SAMTOOLS, "buildTemplate": template, "containerPlatform": ARM64, "dryRun": True}

    assert (await narrow.post(**wish))[0] == status


async def test_steps_run_where_the_builder_has_an_emulator(swell: Swell) -> None:
    """Nobody has to say which ones it has: the builder looks for itself."""
    if "arm64" in (lacks := Emulators().lacks()):
        pytest.skip(f"this machine lacks {lacks['arm64']}")
    context = as_data(archive({"hello": arm64_program()}))
    containerfile = 'FROM scratch\nCOPY --chmod=755 hello /hello\nRUN ["/hello"]\n'

    answer: Fields = await swell.build(containerfile, buildContext=context, containerPlatform=ARM64)

    assert (await swell.ended(answer["buildId"]))["succeeded"], await swell.log(answer["buildId"])
    assert SAID.decode() in await swell.log(answer["buildId"])
