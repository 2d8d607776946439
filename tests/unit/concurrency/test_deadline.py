"""The deadline of the current work, which each hop has before its caller."""

import asyncio

from swell.concurrency.deadline import at_most, within


def test_work_without_a_deadline_takes_the_time_of_its_request() -> None:
    """Most background work has no caller that waits."""
    with within(None):
        assert at_most(30) == 30


def test_the_earlier_deadline_counts() -> None:
    """An inner step cannot extend the time of its caller."""
    with within(1000), within(5), within(100):
        assert 0 < at_most(30) <= 5
        assert at_most(1) == 1


def test_no_time_is_left_after_the_deadline() -> None:
    """A request at that point fails at once; a negative time would be an error of its own."""
    with within(0):
        assert at_most(30) == 0


def test_the_deadline_ends_with_its_block() -> None:
    """The next request of the same task has its own time."""
    with within(5):
        pass
    assert at_most(30) == 30


async def test_background_work_continues_after_its_caller() -> None:
    """A task that a request has started, such as the renewal of a token, inherits the deadline only while it runs."""
    go_on = asyncio.Event()

    async def work() -> float:
        await go_on.wait()
        return at_most(30)

    with within(0):
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
    go_on.set()

    assert await task == 30
