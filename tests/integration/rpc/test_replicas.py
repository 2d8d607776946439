"""Several replicas behind one setting: calls are spread, and a replica that is gone costs a repetition."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest

from swell.errors import Unavailable
from swell.rpc.channel import connect
from swell.rpc.server import answering
from swell.rpc.v1.counters_pb2_grpc import add_CountersServicer_to_server
from swell.serve import Address
from swell_embedded.ports import Ports
from tests.integration.rpc.test_calls import Counters, ask


@pytest.fixture
def where() -> list[Address]:
    ports = Ports.free()
    return [Address("127.0.0.1", port) for port in (ports.metrics, ports.builder)]


@asynccontextmanager
async def replica(where: Address, does: Callable[[], Awaitable[int]]) -> AsyncIterator[None]:
    async with answering(where, lambda server: add_CountersServicer_to_server(Counters(does), server)):
        yield


def number(value: int) -> Callable[[], Awaitable[int]]:
    async def work() -> int:
        return value

    return work


@pytest.fixture
async def channel(where: list[Address]) -> AsyncIterator[grpc.aio.Channel]:
    async with connect(", ".join(f"{each.host}:{each.port}" for each in where)) as channel:
        yield channel


async def test_calls_are_spread(where: list[Address], channel: grpc.aio.Channel) -> None:
    """Each replica gets its share as soon as it is connected."""
    async with replica(where[0], number(1)), replica(where[1], number(2)), asyncio.timeout(60):
        answers = Counter[int]()
        while min(answers[1], answers[2]) < 5:
            answers[await ask(channel)] += 1


async def test_a_dead_replica_costs_no_call(where: list[Address], channel: grpc.aio.Channel) -> None:
    """Although it is named first, and dead from the start; no call waits for the deadline."""
    async with replica(where[1], number(2)), asyncio.timeout(60):
        assert {await ask(channel, seconds=300) for _ in range(20)} == {2}


async def test_calls_go_on_when_a_replica_ends(where: list[Address], channel: grpc.aio.Channel) -> None:
    """And come back to it when it runs again."""
    async with replica(where[1], number(2)), asyncio.timeout(120):
        async with replica(where[0], number(1)):
            while await ask(channel) != 1:
                pass
        assert {await ask(channel, seconds=300) for _ in range(20)} == {2}
        async with replica(where[0], number(1)):
            while await ask(channel) != 1:
                pass


async def test_a_call_whose_replica_dies_is_repeated_on_another(
    where: list[Address], channel: grpc.aio.Channel
) -> None:
    """The client of the gateway does not notice it."""
    begun = asyncio.Event()

    async def hang() -> int:
        begun.set()
        await asyncio.Event().wait()
        return 1

    async with asyncio.timeout(60), AsyncExitStack() as first:
        await first.enter_async_context(_killable(where[0], hang))
        asking = asyncio.create_task(ask(channel, seconds=300))
        await begun.wait()
        async with replica(where[1], number(2)):
            await first.aclose()
            assert await asking == 2


@asynccontextmanager
async def _killable(where: Address, does: Callable[[], Awaitable[int]]) -> AsyncIterator[None]:
    """A server that drops its calls when the block ends."""
    server = grpc.aio.server()
    add_CountersServicer_to_server(Counters(does), server)
    server.add_insecure_port(f"{where.host}:{where.port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


async def test_without_any_replica_a_call_ends_at_its_deadline(channel: grpc.aio.Channel) -> None:
    """With the error that it has for one address."""
    with pytest.raises(Unavailable, match="the counter does not answer"):
        await ask(channel, seconds=0.5)


async def test_a_service_that_refuses_is_not_asked_again(where: list[Address], channel: grpc.aio.Channel) -> None:
    """Its error is an answer; repeating it would multiply the load of an outage."""
    calls = 0

    async def refuse() -> int:
        nonlocal calls
        calls += 1
        raise Unavailable("the state store does not answer")

    async with replica(where[0], refuse):
        with pytest.raises(Unavailable, match="state store"):
            await ask(channel)

    assert calls == 1
