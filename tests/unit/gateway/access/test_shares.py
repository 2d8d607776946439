"""One client cannot take all of what others wait for."""

import asyncio

import pytest

from gateway.access import shares
from gateway.access.shares import Shares
from gateway.domain.quota import Client
from swell.errors import Unavailable

ADA, BOB = Client("ada"), Client("", "203.0.113.9")


async def begun(*tasks: "asyncio.Task[None]") -> list[bool]:
    """Which *tasks* have their place."""
    for _ in range(3):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


async def test_a_client_waits_for_its_own_requests_only() -> None:
    """Slow registries of one client delay its own requests; they wait in their order."""
    taken = Shares(2)
    assert taken.take_at_once(ADA)
    assert taken.take_at_once(ADA)
    assert not taken.take_at_once(ADA)
    third, fourth = (asyncio.create_task(taken.take(ADA)) for _ in range(2))

    assert taken.take_at_once(BOB)
    assert await begun(third, fourth) == [False, False]
    taken.give_back(ADA)
    assert await begun(third, fourth) == [True, False]
    taken.give_back(ADA)
    assert await begun(fourth) == [True]


async def test_a_request_that_is_cancelled_takes_no_place() -> None:
    """A client may close its connection while it waits, or just when its turn comes."""
    taken = Shares(1)
    await taken.take(ADA)
    waiting, granted, last = (asyncio.create_task(taken.take(ADA)) for _ in range(3))
    await begun(waiting)

    waiting.cancel()
    await begun(waiting)
    taken.give_back(ADA)
    granted.cancel()
    assert await begun(granted, last) == [True, True]
    taken.give_back(ADA)

    assert taken.take_at_once(ADA)
    assert not taken.take_at_once(ADA)


async def test_waiting_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the number of those that wait nor their time is without a limit."""
    monkeypatch.setattr(shares, "MOST_SECONDS", 0.01)
    taken = Shares(1, most_waiting=1)
    await taken.take(ADA)
    waiting = asyncio.create_task(taken.take(ADA))
    await begun(waiting)

    with pytest.raises(Unavailable, match="waiting"):
        await taken.take(ADA)
    with pytest.raises(Unavailable, match="too long"):
        await waiting
    taken.give_back(ADA)
    assert taken.take_at_once(ADA)
