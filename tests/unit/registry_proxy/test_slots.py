"""Slots of transfers: slow ones of many registries do not keep them from others."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from registry_proxy.slots import FAST, WINDOW, TransferSlots
from swell.errors import UpstreamSlow


class Clock:
    """A clock; each piece of `body` takes *seconds* of it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    async def body(self, size: int, seconds: float, pieces: int = 20) -> AsyncIterator[bytes]:
        for _ in range(pieces):
            await asyncio.sleep(0)
            self.seconds += seconds
            yield bytes(size)


async def _read(slots: TransferSlots, body: AsyncIterator[bytes]) -> int:
    async with slots.take("slow.example"):
        return sum([len(piece) async for piece in slots.paced(body)])


async def test_a_slow_transfer_gives_its_slot_to_one_that_waits() -> None:
    """A client may have many registries, each with fewer transfers than its limit."""
    clock = Clock()
    slots = TransferSlots(1, 1, now=clock)
    slow = asyncio.create_task(_read(slots, clock.body(size=1024, seconds=WINDOW)))
    await asyncio.sleep(0)

    async with slots.take("another.example"):
        with pytest.raises(UpstreamSlow, match="other transfers wait"):
            await slow


@pytest.mark.parametrize(("size", "waiting"), [(1024, 0), (2 * FAST * int(WINDOW), 1)])
async def test_other_transfers_keep_their_slots(size: int, waiting: int) -> None:
    """Slow ones while nothing waits, and fast ones."""
    clock = Clock()
    slots = TransferSlots(1, 1, now=clock)
    running = asyncio.create_task(_read(slots, clock.body(size=size, seconds=WINDOW)))
    await asyncio.sleep(0)
    others = [asyncio.create_task(_read(slots, clock.body(size=1, seconds=0))) for _ in range(waiting)]

    assert await running == 20 * size
    await asyncio.gather(*others)


async def test_a_transfer_that_gave_up_waiting_does_not_count() -> None:
    """Otherwise one of them would slow others down for ever."""
    clock = Clock()
    slots = TransferSlots(1, 2, wait=60, now=clock)
    async with slots.take("one.example"):
        waiting = asyncio.create_task(_read(slots, clock.body(size=1, seconds=0)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

        body = slots.paced(clock.body(size=1, seconds=WINDOW))
        assert sum([len(piece) async for piece in body]) == 20
