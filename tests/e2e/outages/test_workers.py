"""A gateway of several processes: they share the port and the work, and act as one."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import bcrypt
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.workers import OPERATOR_PORTS
from swell_embedded.ports import Ports
from swell_embedded.processes.child import Child
from swell_embedded.stack import Stack
from tests.e2e.client import client_of
from tests.e2e.environment import gateway_beside
from tests.e2e.raw import LOGIN
from tests.e2e.upstreams import Upstreams, running

CONNECTIONS = 24
WORKERS = 2


class Site:
    """A gateway of two workers at *url*, whose operator ports begin at *operator*."""

    def __init__(self, url: str, operator: int, child: Child) -> None:
        self.url = url
        self.child = child
        self._operator = operator

    async def statuses(self, path: str) -> list[int]:
        """The status of *path* over many connections, so that each worker answers some of them."""

        async def one() -> int:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}{path}") as response:
                return response.status

        return list(await asyncio.gather(*(one() for _ in range(CONNECTIONS))))

    async def pulls(self) -> list[float]:
        """How many manifests each worker has served."""
        return [await self._pulls(self._operator + number * OPERATOR_PORTS) for number in range(WORKERS)]

    async def until_ready(self) -> None:
        """Wait until every worker serves: the first one answers at the shared port already."""
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            for number in range(WORKERS):
                url = f"http://127.0.0.1:{self._operator + number * OPERATOR_PORTS}/ready"
                while not await self._is_ready(session, url):  # noqa: ASYNC110  (a port sends no event)
                    await asyncio.sleep(0.05)

    async def _is_ready(self, session: aiohttp.ClientSession, url: str) -> bool:
        try:
            async with session.get(url) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def _pulls(self, port: int) -> float:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
            families = text_string_to_metric_families(await response.text())
        samples = [each for family in families for each in family.samples if each.name == "swell_http_seconds_count"]
        return sum(each.value for each in samples if each.labels["route"] == "/v2/manifests")


@pytest.fixture
async def site(stack: Stack, tmp_path: Path) -> AsyncIterator[Site]:
    operator = Ports.free().operator
    (tmp_path / "accounts").write_bytes(b"ops:" + bcrypt.hashpw(b"pw", bcrypt.gensalt(4)) + b"\n")
    settings = {"GATEWAY_WORKERS": str(WORKERS), "OPERATOR_LISTEN": f"127.0.0.1:{operator}"}
    url, program = gateway_beside(stack, "workers", ACCOUNTS_FILE=str(tmp_path / "accounts"), **settings)
    async with running(program, tmp_path) as child:
        site = Site(url, operator, child)
        await site.until_ready()
        yield site


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def until_gone(pids: list[int]) -> None:
    """Wait until none of *pids* runs."""
    async with asyncio.timeout(60):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):  # noqa: ASYNC110  (the kernel sends no event)
            await asyncio.sleep(0.05)


async def test_workers_act_as_one_gateway(site: Site, upstreams: Upstreams) -> None:
    """Each serves a part of the pulls, each of them counts once, and a revoked token is refused by all."""
    async with client_of(site.url) as swell:
        answer = await swell.submit(containerImage=upstreams.image())
    path = "/v2/" + answer["targetImage"].partition("/")[2].replace(":", "/manifests/")

    assert await site.statuses(path) == [200] * CONNECTIONS
    served = await site.pulls()
    async with (
        aiohttp.ClientSession() as session,
        session.delete(f"{site.url}/container-token/{answer['containerToken']}", headers=LOGIN) as response,
    ):
        assert response.status == 200

    async with asyncio.timeout(10):
        while (statuses := await site.statuses(path)) != [404] * CONNECTIONS:
            assert set(statuses) <= {200, 404}
    assert min(served) > 0
    assert sum(served) == CONNECTIONS


async def test_workers_stop_together(site: Site) -> None:
    """SIGTERM ends all of them; so does the end of one, because the process manager starts the whole again."""
    workers = children(site.child.pid)
    assert len(workers) == WORKERS

    os.kill(workers[0], signal.SIGKILL)
    await until_gone([site.child.pid, *workers])


async def test_workers_end_with_the_process_that_started_them(site: Site) -> None:
    """A killed process leaves nothing that serves the port."""
    workers = children(site.child.pid)
    os.kill(site.child.pid, signal.SIGKILL)

    await until_gone(workers)
