"""Services that are asked to stop finish what they do, refuse new work, and hand over the rest."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from signal import Signals

import aiohttp
import pytest

from swell_embedded.stack import Stack
from tests.e2e.client import Swell, client_of, encoded, until
from tests.e2e.environment import gateway_beside
from tests.e2e.outages.test_outages import ended, ends
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, running
from tests.integration.embedded.processes import gone


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drain")


@pytest.fixture(scope="module")
async def stack(new_stack: OpenStack, home: Path) -> AsyncIterator[Stack]:
    """Services that may finish their work for two minutes."""
    async with new_stack(home, DRAIN="PT2M", JOB_LEASE="PT5S") as opened:
        yield opened


@pytest.fixture(scope="module")
async def swell(stack: Stack) -> AsyncIterator[Swell]:
    async with client_of(stack.url) as client:
        yield client


async def begun(swell: Swell, upstreams: Upstreams, name: str, seconds: float) -> dict[str, str]:
    """Start a build that prints *name*, a space and 21, and then sleeps; return its answer when it has printed."""
    answer = await swell.build(f"FROM {upstreams.image()}\nRUN echo {name} $((20 + 1)) && sleep {seconds}\n")

    async def has_printed() -> bool:
        return f"{name} 21" in await swell.log(answer["buildId"])

    await until(has_printed)
    return answer


async def test_a_builder_finishes_its_build_and_takes_no_other(
    stack: Stack, swell: Swell, upstreams: Upstreams
) -> None:
    """One attempt, one end; a build that is requested meanwhile waits for the next builder."""
    before = await ends(stack)
    answer = await begun(swell, upstreams, "first", 6)
    pid = stack.pid("builder")
    stack.kill("builder", Signals.SIGTERM)
    later = await swell.build(f"FROM {upstreams.image()}\nRUN echo later\n")

    assert (await ended(swell, answer["buildId"]))["exitStatus"] == 0
    assert not await gone({pid})
    assert "attempt" not in await swell.log(answer["buildId"])
    assert "exitStatus" not in (await swell.get(f"/v1alpha1/builds/{later['buildId']}"))[1]
    await stack.restart("builder")
    assert (await ended(swell, later["buildId"]))["exitStatus"] == 0
    assert await ends(stack) == before + 2


async def test_a_build_that_cannot_finish_is_handed_over(
    stack: Stack, swell: Swell, upstreams: Upstreams, home: Path
) -> None:
    """A second signal ends the drain; the next builder starts the second attempt, when the first one has ended."""
    before = await ends(stack)
    answer = await begun(swell, upstreams, "second", 4)
    pid, stops = stack.pid("builder"), (home / "logs/builder.log").read_text().count('"service stops"')
    stack.kill("builder", Signals.SIGTERM)

    async def has_begun() -> bool:  # two signals at once would be one
        return (home / "logs/builder.log").read_text().count('"service stops"') > stops

    await until(has_begun)
    stack.kill("builder", Signals.SIGTERM)
    assert not await gone({pid})
    await stack.restart("builder")

    assert (await ended(swell, answer["buildId"]))["exitStatus"] == 0
    assert "attempt 2 begins" in await swell.log(answer["buildId"])
    assert await ends(stack) == before + 1


async def test_a_gateway_finishes_its_pulls_and_refuses_new_work(
    stack: Stack, swell: Swell, upstreams: Upstreams, tmp_path: Path
) -> None:
    """A pull that waits for its build, and a log that is followed, end well; the platform sees that it stops."""
    url, program = gateway_beside(stack, "stopping", DRAIN="PT2M")
    async with running(program, tmp_path) as gateway, aiohttp.ClientSession() as session:
        answer = await begun(swell, upstreams, "third", 6)
        _, _, path = answer["targetImage"].partition("/")
        name, _, tag = path.rpartition(":")
        pull = asyncio.create_task(get(session, f"{url}/v2/{name}/manifests/{tag}"))
        events = f"{url}/v1alpha1/builds/{answer['buildId']}/logs"
        async with session.get(events, headers={"Accept": "text/event-stream"}) as following:
            gateway.send(Signals.SIGTERM)

            async def stops() -> bool:
                return (await get(session, f"{url}/health"))[0] == 503

            await until(stops)
            request = {"containerFile": encoded(f"FROM {upstreams.image()}\nRUN echo refused\n")}
            async with session.post(f"{url}/v1alpha2/container", json=request) as refusal:
                assert (refusal.status, refusal.headers["Retry-After"]) == (503, "1")
                assert refusal.headers["Connection"] == "close"
            assert (await get(session, f"{url}/health/liveness"))[0] == 200
            assert (await pull)[0] == 200
            assert b"event: end" in await following.read()
        assert not await gone({gateway.pid})


async def get(session: aiohttp.ClientSession, url: str) -> tuple[int, bytes]:
    async with session.get(url) as response:
        return response.status, await response.read()
