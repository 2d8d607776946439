"""One network is always open in advance, also after failures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from swell_sandbox import SandboxUnavailable
from swell_sandbox.network import Network
from swell_sandbox.network_pool import NetworkPool


class Machine:
    """Opens networks that are files in *folder*; the names of the open ones are in `is_open`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.opened = 0
        self.is_open: list[str] = []
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.broken = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Network]:
        await self.may_open.wait()
        if self.broken:
            raise SandboxUnavailable("no networks today")
        self.opened += 1
        path = self._folder / str(self.opened)
        path.touch()
        self.is_open.append(path.name)
        try:
            yield Network(namespace=path)
        finally:
            self.is_open.remove(path.name)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def taken(networks: NetworkPool) -> str:
    async with networks.take() as network:
        return network.namespace.name


async def test_all_are_closed_at_the_end(machine: Machine) -> None:
    """The networks of builds, and the unused one."""
    async with NetworkPool.open(machine.open) as networks:
        names = [await taken(networks) for _ in range(3)]
        assert len(set(names)) == 3, "no two builds have the same"
    assert machine.is_open == []


async def test_a_dead_network_is_not_used(machine: Machine, tmp_path: Path) -> None:
    """A build in it would reach nothing, and call that its own fault."""
    async with NetworkPool.open(machine.open) as networks:
        await asyncio.sleep(0)
        (tmp_path / "1").unlink()
        assert await taken(networks) == "2"


async def test_a_failure_long_ago_is_no_failure_now(machine: Machine) -> None:
    """The one for the next build is opened when it may be lacking memory; the next build comes an hour later."""
    machine.broken = True
    async with NetworkPool.open(machine.open) as networks:
        await asyncio.sleep(0)
        with pytest.raises(SandboxUnavailable, match="today"):
            await taken(networks)
        machine.broken = False
        assert await taken(networks)


async def test_a_build_that_is_cancelled_while_it_waits_loses_no_network(machine: Machine) -> None:
    """It is for the next one, and closed at the end."""
    machine.may_open.clear()
    async with NetworkPool.open(machine.open) as networks:
        build = asyncio.create_task(taken(networks))
        await asyncio.sleep(0)
        build.cancel()
        with suppress(asyncio.CancelledError):
            await build
        machine.may_open.set()
        assert await taken(networks) == "1"
    assert machine.is_open == []
