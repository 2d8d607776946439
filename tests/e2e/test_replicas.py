"""Two replicas of a service behind one gateway: killing one of them fails no request."""

from collections.abc import AsyncIterator
from pathlib import Path
from signal import Signals

import pytest

from swell_embedded.stack import Stack
from tests.e2e.client import Swell, client_of
from tests.e2e.conftest import OpenStack
from tests.e2e.environment import gateway_beside, proxy_beside
from tests.e2e.test_outages import manifest_at
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
