"""The memory for large bodies: who gets it, in which order, and when it is free again."""

import asyncio
from typing import Any

import pytest

from gateway.http.caller import Callers, ClientAddress
from gateway.http.large_bodies import BodyRoom, LargeBodies, Reservation, reservation_of
from swell.errors import Unavailable


def reservations(room: BodyRoom, *addresses: str) -> list[Reservation]:
    return [Reservation(room, address) for address in addresses]


async def taken(*takes: asyncio.Task[None]) -> list[bool]:
    """Which of *takes* have their room, when nothing more happens."""
    for _ in range(10):
        await asyncio.sleep(0)
    return [each.done() for each in takes]


async def test_requests_get_their_room_in_their_order() -> None:
    """A large one that came first is not passed by small ones for ever."""
    room = BodyRoom(100)
    first, second, third = reservations(room, "a", "b", "c")
    async with asyncio.TaskGroup() as tasks:
        takes = [tasks.create_task(each.take(size)) for each, size in ((first, 50), (second, 50), (third, 10))]
        assert await taken(*takes) == [True, True, False]
        first.give_back()
        assert await taken(*takes) == [True, True, True]


async def test_an_address_gets_half_and_delays_no_other() -> None:
    """A client that sends slowly cannot keep all others from sending."""
    room = BodyRoom(100)
    one, more, other = reservations(room, "a", "a", "b")
    async with asyncio.TaskGroup() as tasks:
        takes = [tasks.create_task(each.take(size)) for each, size in ((one, 40), (more, 40), (other, 40))]
        assert await taken(*takes) == [True, False, True]
        one.give_back()
        assert await taken(*takes) == [True, True, True]


async def test_a_request_that_waits_too_long_is_refused_and_forgotten() -> None:
    """The client may come again later."""
    room = BodyRoom(100, wait=0.01)
    one, other = reservations(room, "a", "a")
    await one.take(50)

    with pytest.raises(Unavailable) as refused:
        await other.take(50)

    assert refused.value.retry_after
    assert other.size == 0
    one.give_back()
    await other.take(50)


async def test_a_request_that_no_longer_waits_delays_no_other() -> None:
    """Its place in the order is free for the next one."""
    room = BodyRoom(100)
    one, two, large, small = reservations(room, "a", "b", "c", "d")
    await one.take(50)
    await two.take(20)
    leaving = asyncio.create_task(large.take(50))
    staying = asyncio.create_task(small.take(30))
    assert await taken(leaving, staying) == [False, False]

    leaving.cancel()

    assert await taken(leaving, staying) == [True, True]
    assert (large.size, small.size) == (0, 30)


@pytest.mark.parametrize("fails", [False, True])
async def test_the_room_is_free_when_the_request_is_answered(callers: Callers, fails: bool) -> None:
    """However the request ends; reading requests have no reservation."""
    room, held = BodyRoom(100), list[Reservation]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reservation = reservation_of(scope)
        await reservation.take(50)
        held.append(reservation)
        if fails:
            raise ValueError

    wrapped = LargeBodies(app, callers, room)
    for _ in range(3):
        scope: Any = {"type": "http", "method": "POST", "client": ("127.0.0.1", 1), "headers": []}
        try:
            await wrapped(scope, None, None)  # type: ignore[arg-type]
        except ValueError:
            assert fails
    assert [each.size for each in held] == [0, 0, 0]


@pytest.fixture
def callers() -> Callers:
    """Only its address is used."""
    return Callers(None, ClientAddress(), None)  # type: ignore[arg-type]
