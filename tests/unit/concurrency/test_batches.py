"""Values that are stored together."""

import asyncio
from collections.abc import Sequence

import pytest

from swell.concurrency.batches import Batches
from swell.errors import Unavailable


class Store:
    """Records its calls. A call ends when `go_on` is set, and fails with *error*."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.called, self.go_on = asyncio.Event(), asyncio.Event()
        self.error: Exception | None = None

    async def put(self, values: Sequence[str]) -> None:
        self.calls.append(list(values))
        self.called.set()
        await self.go_on.wait()
        if self.error:
            raise self.error


async def test_values_that_arrive_during_a_call_are_stored_together() -> None:
    """Under load, a store is called as often as it answers, and each caller waits for two calls at most."""
    store = Store()
    batches = Batches(store.put, len, 100)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(batches.add("a"))
        await store.called.wait()
        for value in "bcd":
            tasks.create_task(batches.add(value))
        await asyncio.sleep(0)
        store.go_on.set()

    assert store.calls == [["a"], ["b", "c", "d"]]


async def test_a_batch_has_a_largest_weight() -> None:
    """A value that is heavier than that is stored alone."""
    store = Store()
    store.go_on.set()
    batches = Batches(store.put, len, 5)

    await asyncio.gather(*map(batches.add, ["aa", "bb", "cc", "long value", "d"]))

    assert store.calls == [["aa", "bb"], ["cc"], ["long value"], ["d"]]


async def test_a_failure_reaches_every_caller_of_the_batch() -> None:
    """No client gets a token that is not stored; the next call is tried again."""
    store = Store()
    store.go_on.set()
    store.error = Unavailable("the state store does not answer")
    batches = Batches(store.put, len, 100)

    results = await asyncio.gather(batches.add("a"), batches.add("b"), return_exceptions=True)
    store.error = None
    await batches.add("c")

    assert [type(each) for each in results] == [Unavailable, Unavailable]
    assert store.calls == [["a", "b"], ["c"]]


async def test_a_value_whose_caller_was_cancelled_is_not_stored() -> None:
    """Its client has gone, and would not get the token."""
    store = Store()
    batches = Batches(store.put, len, 100)
    first = asyncio.create_task(batches.add("a"))
    await store.called.wait()
    cancelled, last = asyncio.create_task(batches.add("b")), asyncio.create_task(batches.add("c"))
    await asyncio.sleep(0)

    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    store.go_on.set()
    await asyncio.gather(first, last)

    assert store.calls == [["a"], ["c"]]
