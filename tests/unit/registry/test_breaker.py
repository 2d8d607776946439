"""Hosts that do not answer are left alone, for a while."""

import pytest

from swell.errors import UpstreamDown
from swell.registry.breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def fail(breaker: Breaker, times: int = Breaker.FAILURES) -> None:
    for _ in range(times):
        breaker.check("a")
        breaker.failed("a")


def rests(breaker: Breaker) -> int | None:
    """For how many seconds `a` is left alone; None when it may be asked."""
    try:
        breaker.check("a")
    except UpstreamDown as error:
        return error.retry_after
    return None


def test_some_failures_are_no_reason_yet(breaker: Breaker) -> None:
    """One answer between them, and the counting begins again."""
    fail(breaker, Breaker.FAILURES - 1)
    breaker.answered("a")
    fail(breaker, Breaker.FAILURES - 1)

    assert rests(breaker) is None


def test_five_in_a_row_make_a_rest_for_that_host_alone(breaker: Breaker) -> None:
    """Whoever asks is told for how long."""
    fail(breaker)

    assert rests(breaker) == Breaker.REST
    breaker.check("b")


def test_after_the_rest_one_tries_for_all(breaker: Breaker, clock: Clock) -> None:
    """A host that comes back must not be met by everybody at once."""
    fail(breaker)
    clock.now += Breaker.REST

    assert rests(breaker) is None
    assert rests(breaker) == 2 * Breaker.REST


def test_an_answer_ends_it(breaker: Breaker, clock: Clock) -> None:
    """For all who ask, at once; and a later trouble begins with a short rest again."""
    fail(breaker)
    clock.now += Breaker.REST
    breaker.check("a")
    breaker.answered("a")

    fail(breaker)

    assert rests(breaker) == Breaker.REST


def test_rests_get_longer_up_to_half_a_minute(breaker: Breaker, clock: Clock) -> None:
    """Nobody waits longer than that for a host that is back."""
    fail(breaker)
    found = []
    for _ in range(5):
        clock.now += Breaker.LONGEST_REST
        breaker.check("a")
        breaker.failed("a")
        found.append(rests(breaker))

    assert found == [10, 20, 30, 30, 30]


def test_one_who_tries_and_never_comes_back_blocks_nobody(breaker: Breaker, clock: Clock) -> None:
    """The client may have gone, and its request with it."""
    fail(breaker)
    clock.now += Breaker.REST
    breaker.check("a")
    clock.now += 2 * Breaker.REST

    assert rests(breaker) is None
