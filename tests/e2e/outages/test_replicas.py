"""Two replicas of a service behind one gateway: killing one of them fails no request."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from signal import Signals

import pytest

from swell_embedded.stack import Stack
from tests.e2e.client import Swell, client_of
from tests.e2e.environment import beside, gateway_beside, proxy_beside
from tests.e2e.load import loading
from tests.e2e.outages.test_outages import ends, manifest_at
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, running


@pytest.fixture(scope="module")
async def stack(new_stack: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with new_stack(tmp_path_factory.mktemp("replicas")) as opened:
        yield opened


async def test_a_dead_registry_proxy_fails_no_request(stack: Stack, upstreams: Upstreams, tmp_path: Path) -> None:
    """Requests and first pulls go on over the other one, whichever is killed."""
    address, program = proxy_beside(stack, "second", SPOOL=str(tmp_path / "spool"), OPERATOR_LISTEN="off")
    both = f"{address},{stack.env['SWELL_REGISTRY_PROXY']}"
    url, gateway = gateway_beside(stack, "gateway", REGISTRY_PROXY=both, OPERATOR_LISTEN="off")
    async with running(program, tmp_path) as second, running(gateway, tmp_path), client_of(url) as swell:
        await pulled(swell, upstreams, url, "BOTH")
        second.send(Signals.SIGKILL)
        await pulled(swell, upstreams, url, "FIRST")


async def pulled(swell: Swell, upstreams: Upstreams, url: str, name: str) -> None:
    """Request eight augmented images, and pull their manifests for the first time."""
    for number in range(8):
        config = {"env": [f"{name}={number}"]}
        answer = await swell.submit(containerImage=upstreams.image(), containerConfig=config)
        assert await manifest_at(url, answer["targetImage"]) == 200


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_any_service_may_be_killed_under_load(new_stack: OpenStack, upstreams: Upstreams, tmp_path: Path) -> None:
    """Two of each service. A request is repeated once at most, and every build ends once, whichever one is killed."""
    async with new_stack(tmp_path / "stack", JOB_LEASE="PT3S") as stack, AsyncExitStack() as opened:
        proxy, second_proxy = proxy_beside(stack, "second-proxy", SPOOL=str(tmp_path / "spool"), OPERATOR_LISTEN="off")
        builder, second_builder = beside(stack, "builder", WORKSPACE=str(tmp_path / "builder"))
        metrics, second_metrics = beside(stack, "metrics")
        _, second_scanner = beside(stack, "scanner", SCAN_WORKSPACE=str(tmp_path / "scanner"))
        of_both = {
            "REGISTRY_PROXY": f"{proxy},{stack.env['SWELL_REGISTRY_PROXY']}",
            "BUILDER": f"{builder},{stack.env['SWELL_BUILDER']}",
            "METRICS": f"{metrics},{stack.env['SWELL_METRICS']}",
        }
        others = {
            "registry-proxy": second_proxy,
            "builder": second_builder,
            "metrics": second_metrics,
            "scanner": second_scanner,
        }
        children = {name: await opened.enter_async_context(running(each, tmp_path)) for name, each in others.items()}
        gateways = [gateway_beside(stack, f"gateway-{number}", OPERATOR_LISTEN="off", **of_both) for number in (1, 2)]
        for number, (_, program) in enumerate(gateways):
            children[f"gateway-{number}"] = await opened.enter_async_context(running(program, tmp_path))
        before = await ends(stack)
        async with loading([url for url, _ in gateways], upstreams.image(), attempts=2, scans=True) as load:
            await load.more(1)
            for name in ("metrics", "registry-proxy", "builder", "scanner", "gateway-0"):
                children[name].send(Signals.SIGKILL)
                await load.more(2)

        assert await ends(stack) - before >= len(set(load.builds)) == len(load.builds)
