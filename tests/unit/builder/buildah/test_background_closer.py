"""Sandboxes of builds and their networks are closed in the background."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from builder.buildah.background_closer import BackgroundCloser

WITHIN = 10.0


class Doors:
    """Doors that take as long to close as the test wants."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.may_close = asyncio.Event()

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[str]:
        try:
            yield name
        finally:
            await self.may_close.wait()
            self.closed.append(name)


async def test_only_the_end_waits_for_a_background_close() -> None:
    """A build returns its result before its files are removed; a service removes them before it stops."""
    doors = Doors()
    async with BackgroundCloser.open() as closing:
        async with closing.close_later(doors.open("a")) as name:
            assert name == "a"
        assert doors.closed == []
        doors.may_close.set()
    assert doors.closed == ["a"]


async def test_an_error_in_the_block_is_raised_and_an_error_after_it_is_not() -> None:
    """The result of a build does not depend on what is cleaned up after it."""

    @asynccontextmanager
    async def stuck() -> AsyncIterator[None]:
        try:
            yield
        finally:
            raise OSError("cannot be removed")

    async with BackgroundCloser.open() as closing:
        async with closing.close_later(stuck()):
            pass
        with pytest.raises(ValueError, match="of the block"):
            async with closing.close_later(stuck()):
                raise ValueError("of the block")


async def test_who_would_open_more_waits_while_too_much_is_being_closed() -> None:
    """Files that are being removed are on the disk still."""
    doors = Doors()
    async with BackgroundCloser.open() as closing:
        for name in "abcd":
            async with closing.close_later(doors.open(name)):
                pass

        async def one_more() -> None:
            async with closing.close_later(doors.open("e")):
                assert doors.closed != []

        waiting = asyncio.create_task(one_more())
        await asyncio.sleep(0)
        assert not waiting.done()
        doors.may_close.set()
        await asyncio.wait_for(waiting, WITHIN)
    assert sorted(doors.closed) == list("abcde")
