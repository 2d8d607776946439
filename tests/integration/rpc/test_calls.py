"""Calls over a real channel to a real server: an error of the server is raised in the client; waits have a limit."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from swell.concurrency.deadline import SHARE, at_most
from swell.errors import SwellError, TooManyRequests, Unavailable, every_class
from swell.log import current_trace, tracing
from swell.rpc.channel import MAX_MESSAGE, call, connect
from swell.rpc.server import Context, answer, answering
from swell.rpc.v1 import counters_pb2 as pb
from swell.rpc.v1.counters_pb2_grpc import CountersServicer, CountersStub, add_CountersServicer_to_server
from swell.serve import Address
from swell_embedded.ports import Ports

Work = Callable[[], Awaitable[int]]
CLASSES = [cls for cls in every_class() if cls.__module__ == "swell.errors"]


class Counters(CountersServicer):
    """Answers with what *does* gives."""

    def __init__(self, does: Work) -> None:
        self._does = does

    async def GetCount(  # noqa: N802
        self, request: pb.GetCountRequest, context: Context
    ) -> pb.GetCountResponse:
        async def work() -> pb.GetCountResponse:
            return pb.GetCountResponse(count=await self._does())

        return await answer(context, "GetCount", work)


async def seven() -> int:
    return 7


async def for_ever() -> int:
    await asyncio.Event().wait()
    return 0


def serving(where: Address, does: Work = seven) -> AbstractAsyncContextManager[None]:
    return answering(where, lambda server: add_CountersServicer_to_server(Counters(does), server))


async def ask(channel: grpc.aio.Channel, *, day: str = "", seconds: float = 30) -> int:
    question = pb.GetCountRequest(day=day)
    return (await call("counter", CountersStub(channel).GetCount, question, seconds=seconds)).count


@pytest.fixture
def where() -> Address:
    """An address where no process listens yet."""
    return Address("127.0.0.1", Ports.free().metrics)


@pytest.fixture
async def channel(where: Address) -> AsyncIterator[grpc.aio.Channel]:
    async with connect(f"{where.host}:{where.port}") as channel:
        yield channel


@asynccontextmanager
async def raising(where: Address, error: Exception) -> AsyncIterator[None]:
    async def work() -> int:
        raise error

    async with serving(where, work):
        yield


@pytest.mark.parametrize("cls", CLASSES)
async def test_an_error_is_raised_again_as_what_it_was(
    where: Address, channel: grpc.aio.Channel, cls: type[SwellError]
) -> None:
    """For each class, the gateway answers as if it had happened there."""
    async with raising(where, cls("'größe' is wrong:\n\tline 2", retry_after=7)):
        with pytest.raises(cls) as caught:
            await ask(channel)

    assert type(caught.value) is cls
    assert str(caught.value) == "'größe' is wrong:\n\tline 2"
    assert caught.value.retry_after == 7


async def test_an_error_without_retry_after_stays_without(where: Address, channel: grpc.aio.Channel) -> None:
    """The client must not invent a pause."""
    async with raising(where, TooManyRequests("slowly")):
        with pytest.raises(TooManyRequests) as caught:
            await ask(channel)

    assert caught.value.retry_after is None


async def test_a_long_message_does_not_hide_its_error(where: Address, channel: grpc.aio.Channel) -> None:
    """gRPC drops a call whose trailer is too large; what an upstream says may be any length."""
    async with raising(where, TooManyRequests("ä" * 100_000)):
        with pytest.raises(TooManyRequests, match="ä{100}"):
            await ask(channel)


async def test_an_unexpected_error_shows_no_details(where: Address, channel: grpc.aio.Channel) -> None:
    """The story is in that service's log; a password in it does not reach the client."""
    async with raising(where, KeyError("password")):
        with pytest.raises(SwellError) as caught:
            await ask(channel)

    assert (type(caught.value), caught.value.code) == (SwellError, "UNKNOWN")
    assert "password" not in str(caught.value)


async def test_a_call_to_a_stopped_server_fails_fast(channel: grpc.aio.Channel) -> None:
    """Requests do not pile up behind it."""
    started = time.monotonic()
    with pytest.raises(Unavailable, match="the counter does not answer") as caught:
        await ask(channel, seconds=0.3)

    assert time.monotonic() - started < 10  # gRPC itself would go on trying
    assert caught.value.retry_after == 2


async def test_a_service_ends_before_its_caller(where: Address, channel: grpc.aio.Channel) -> None:
    """The caller gets the error of the service, which says more than its own timeout."""
    async with serving(where, for_ever):
        with pytest.raises(Unavailable, match="takes too long") as caught:
            await ask(channel, seconds=2)

    assert caught.value.retry_after == 5


async def test_outbound_requests_end_before_the_service(where: Address, channel: grpc.aio.Channel) -> None:
    """Then the error names the server that is slow; without the caller's deadline it could take 60 s."""
    left = []

    async def work() -> int:
        left.append(at_most(60))
        return 7

    async with serving(where, work):
        assert await ask(channel, seconds=20) == 7

    assert 0 < left[0] < 20 * SHARE + 0.5  # gRPC rounds deadlines up


async def test_work_whose_client_has_left_ends(where: Address, channel: grpc.aio.Channel) -> None:
    """The caller has its answer at the deadline, and the server its resources back."""
    ended = asyncio.Event()

    async def work() -> int:
        try:
            return await for_ever()
        finally:
            ended.set()

    async with serving(where, work):
        with pytest.raises(Unavailable):
            await ask(channel, seconds=2)
        async with asyncio.timeout(30):
            await ended.wait()


async def test_a_server_that_is_just_starting_is_waited_for(where: Address, channel: grpc.aio.Channel) -> None:
    """Services start in any order; a request that comes first is slow, not lost."""
    asking = asyncio.create_task(ask(channel))
    async with asyncio.timeout(30):
        while (state := channel.get_state()) is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            await channel.wait_for_state_change(state)

    async with serving(where):
        assert await asking == 7


async def test_a_restarted_server_is_reached_again(where: Address, channel: grpc.aio.Channel) -> None:
    """The channel reconnects by itself."""
    for _ in range(2):
        async with serving(where):
            assert await ask(channel) == 7


async def test_a_stopping_server_finishes_running_calls(where: Address, channel: grpc.aio.Channel) -> None:
    """A deployment breaks no pull."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def work() -> int:
        begun.set()
        await go.wait()
        return 7

    async with serving(where, work):
        asking = asyncio.create_task(ask(channel))
        await begun.wait()
        asyncio.get_running_loop().call_later(0.2, go.set)

    assert await asking == 7


async def test_the_ids_of_a_request_travel_with_the_call(where: Address, channel: grpc.aio.Channel) -> None:
    """One request can be followed through the logs of all services."""
    seen: dict[str, object] = {}

    async def work() -> int:
        seen.update(current_trace()._asdict())
        return 7

    with tracing("request-7", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
        async with serving(where, work):
            await ask(channel)

    assert (seen["request_id"], seen["trace_id"]) == ("request-7", "0af7651916cd43dd8448eb211c80319c")


async def test_a_call_without_ids_gets_new_ids(where: Address, channel: grpc.aio.Channel) -> None:
    """Every log line has a request id."""
    seen: dict[str, object] = {}

    async def work() -> int:
        seen.update(current_trace()._asdict())
        return 7

    async with serving(where, work):
        await ask(channel)

    assert seen.keys() >= {"request_id", "trace_id"}


async def test_a_server_says_that_it_is_well(where: Address, channel: grpc.aio.Channel) -> None:
    """`grpc.health.v1.Health`, as orchestrators ask it."""
    async with serving(where):
        ask_health = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
        check = await ask_health(health_pb2.HealthCheckRequest(), timeout=30, wait_for_ready=True)

    assert check.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_message_may_be_larger_than_grpcs_own_limit(where: Address, channel: grpc.aio.Channel) -> None:
    """That is 4 MiB, which a manifest alone may have."""
    async with serving(where):
        assert await ask(channel, day="x" * (MAX_MESSAGE - 1000)) == 7


async def test_a_port_that_is_taken_stops_the_service(where: Address) -> None:
    """Two that share a port would each get half of the calls."""
    async with serving(where):
        with pytest.raises(Unavailable, match=f"cannot listen on 127.0.0.1:{where.port}"):
            async with serving(where):
                pass
