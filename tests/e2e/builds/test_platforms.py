"""Builds for platforms that differ from the builder's."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from builder.adapters.emulation import Emulators
from swell_embedded.ports import Ports
from swell_embedded.processes.probes import grpc_health
from swell_embedded.processes.program import Program
from swell_embedded.stack import Stack
from tests.e2e.builds.test_requests import SAMTOOLS
from tests.e2e.busybox import archive
from tests.e2e.client import Fields, Swell, as_data, client_of, encoded, until
from tests.e2e.environment import of_this_machine
from tests.e2e.pulls.test_shapes import BOTH
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, running
from tests.integration.builder.buildah.test_platforms import SAID, arm64_program

ARM64 = "linux/arm64"
RECIPE = {"containerFile": encoded("FROM debian\nRUN true\n")}


@pytest.fixture(scope="module")
async def narrow_stack(new_stack: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack whose builder runs steps for amd64 only."""
    async with new_stack(tmp_path_factory.mktemp("narrow"), BUILD_PLATFORMS="linux/amd64") as opened:
        yield opened


@pytest.fixture(scope="module")
async def narrow(narrow_stack: Stack) -> AsyncIterator[Swell]:
    """A client of that stack, once the builder has published its capabilities."""
    async with client_of(narrow_stack.url) as client:

        async def is_published() -> bool:
            status, answer = await client.post(**RECIPE, containerPlatform=ARM64, dryRun=True)
            assert status == 200 or answer["code"] == "UNSUPPORTED", answer
            return status != 200

        await until(is_published)
        yield client


@pytest.mark.parametrize("platform", [ARM64, BOTH])
@pytest.mark.parametrize("dry", [False, True])
async def test_steps_that_no_builder_runs_are_refused_at_once(
    narrow: Swell, upstreams: Upstreams, platform: str, dry: bool
) -> None:
    """The response names the platform, what is missing and what to do. A request for two platforms is refused as a
    whole.
    """
    containerfile = encoded(f"FROM {upstreams.image('oci-index')}\nRUN echo {platform}\n")

    status, answer = await narrow.post(containerFile=containerfile, containerPlatform=platform, dryRun=dry)

    assert (status, answer["code"], answer["side"]) == (501, "UNSUPPORTED", "server")
    assert f"{ARM64}; what it lacks: {ARM64} in SWELL_BUILD_PLATFORMS" in answer["message"]
    assert "RUN" in answer["next"]
    assert "containerToken" not in answer


async def test_builds_without_steps_work_for_any_platform(narrow: Swell, upstreams: Upstreams) -> None:
    """COPY runs no program, so it needs no machine of that platform."""
    containerfile = f"FROM {upstreams.image('oci-index')}\nCOPY hello /\n"
    context = as_data(archive({"hello": b"hello"}))

    answer = await narrow.build(containerfile, buildContext=context, containerPlatform=BOTH)

    assert (await narrow.ended(answer["buildId"]))["succeeded"], await narrow.log(answer["buildId"])


@pytest.mark.parametrize(("template", "status"), [("conda/micromamba:v2", 501), ("conda/direct:v1", 200)])
async def test_conda_packages_become_layers_for_any_platform(narrow: Swell, template: str, status: int) -> None:
    """`conda/direct` runs no program; the other templates run steps and are refused."""
    request = {"packages": SAMTOOLS, "buildTemplate": template, "containerPlatform": ARM64, "dryRun": True}

    assert (await narrow.post(**request))[0] == status


@pytest.fixture
def said_on_arm64() -> Fields:
    """Return the log of a build with a step for arm64, if this machine can run it."""
    if "arm64" in (missing := Emulators().missing_emulators()):
        pytest.skip(f"this machine lacks {missing['arm64']}")
    containerfile = 'FROM scratch\nCOPY --chmod=755 hello /hello\nRUN ["/hello"]\n'
    context = as_data(archive({"hello": arm64_program()}))
    return {"containerFile": encoded(containerfile), "buildContext": context, "containerPlatform": ARM64}


async def test_steps_run_where_the_builder_has_an_emulator(swell: Swell, said_on_arm64: Fields) -> None:
    """The builder detects emulators itself; operators need no setting."""
    answer = await swell.submit(**said_on_arm64)

    assert (await swell.ended(answer["buildId"]))["succeeded"], await swell.log(answer["buildId"])
    assert SAID.decode() in await swell.log(answer["buildId"])


async def test_a_job_goes_to_the_builder_that_can_run_it(
    narrow: Swell, narrow_stack: Stack, said_on_arm64: Fields, tmp_path: Path
) -> None:
    """Any builder may receive the job first. Builders can be added while the server runs, and enable new platforms."""
    assert (await narrow.post(**RECIPE, containerPlatform=ARM64, dryRun=True))[0] == 501
    port = Ports.free().builder
    settings = {"LISTEN": f"127.0.0.1:{port}", "WORKSPACE": str(tmp_path / "second"), "BUILD_PLATFORMS": ARM64}
    environment = narrow_stack.env | {f"SWELL_{name}": value for name, value in settings.items()}
    second = Program(
        name="second",
        command=(sys.executable, "-m", "builder"),
        environment=of_this_machine() | environment,
        ready=grpc_health(port),
    )

    async def answer() -> Fields | None:
        status, answer = await narrow.post(**said_on_arm64)
        return answer if status == 200 else None

    async with running(second, tmp_path):
        build_id = (await until(answer))["buildId"]

        async def end() -> Fields | None:
            status = await narrow.build_status(build_id)
            return status if status["status"] == "COMPLETED" else None

        # a builder that cannot run the job puts it back for some seconds
        assert (await until(end, seconds=300))["succeeded"], await narrow.log(build_id)
