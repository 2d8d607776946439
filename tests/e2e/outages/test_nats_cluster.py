"""Swell on three NATS servers, each of which is killed while clients build and pull."""

from pathlib import Path

import pytest

from tests.e2e.load import loading
from tests.e2e.outages.test_outages import ends
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams
from tests.nats_cluster import open_cluster

CLIENTS = 2

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]


async def test_killed_servers_lose_and_repeat_no_build(
    new_stack: OpenStack, upstreams: Upstreams, tmp_path: Path
) -> None:
    """Requests are repeated for some seconds at most; every build ends, and none ends twice."""
    home = tmp_path / "stack"
    async with (
        open_cluster(tmp_path / "nats") as cluster,
        new_stack(home, NATS_URL=cluster.url, NATS_REPLICAS="3") as stack,
    ):
        before = await ends(stack)
        async with loading([stack.url], upstreams.image(), attempts=60, pause=0.5, clients=CLIENTS) as load:
            await load.more(2)
            for name in cluster.names:
                await cluster.kill(name)
                await load.more(4)
                await cluster.start(name)
                await load.more(2)

        assert len(set(load.builds)) == len(load.builds)
        assert 0 <= await ends(stack) - before - len(load.builds) <= CLIENTS  # a build of each was in progress
