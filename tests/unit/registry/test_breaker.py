"""Circuits open for what keeps failing, and for nothing else."""

import pytest

from swell.errors import UpstreamDown
from swell.registry import breaker as module
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
        breaker.check("a", "x")
        breaker.unreachable("a")


def rests(breaker: Breaker, repository: str = "x") -> int | None:
    """For how many seconds *repository* of host `a` is refused; None when a request may pass."""
    try:
        breaker.check("a", repository)
    except UpstreamDown as error:
        return error.retry_after
    return None


def test_some_failures_are_no_reason_yet(breaker: Breaker) -> None:
    """One answer between them, and the counting begins again."""
    fail(breaker, Breaker.FAILURES - 1)
    breaker.answered("a", "x")
    fail(breaker, Breaker.FAILURES - 1)

    assert rests(breaker) is None


def test_five_failed_connections_open_the_circuit_of_the_host_alone(breaker: Breaker) -> None:
    """The error says when the next trial may start; it concerns every repository of that host, and no other host."""
    fail(breaker)

    assert rests(breaker) == rests(breaker, "y") == Breaker.REST
    breaker.check("b", "x")


def test_after_the_rest_one_request_is_the_trial(breaker: Breaker, clock: Clock) -> None:
    """A host that comes back must not get all requests at once."""
    fail(breaker)
    clock.now += Breaker.REST

    assert rests(breaker) is None
    assert rests(breaker) == 2 * Breaker.REST


def test_an_answer_closes_the_circuit(breaker: Breaker, clock: Clock) -> None:
    """At once and for all; the next failures begin with a short rest again."""
    fail(breaker)
    clock.now += Breaker.REST
    breaker.check("a", "x")
    breaker.answered("a", "x")

    fail(breaker)

    assert rests(breaker) == Breaker.REST


def test_rests_get_longer_up_to_half_a_minute(breaker: Breaker, clock: Clock) -> None:
    """A host that is back is found after that time at the latest."""
    fail(breaker)
    found = []
    for _ in range(5):
        clock.now += Breaker.LONGEST_REST
        breaker.check("a", "x")
        breaker.unreachable("a")
        found.append(rests(breaker))

    assert found == [10, 20, 30, 30, 30]


def test_a_trial_that_never_ends_blocks_no_other(breaker: Breaker, clock: Clock) -> None:
    """Its client may have disconnected, and the request was cancelled."""
    fail(breaker)
    clock.now += Breaker.REST
    breaker.check("a", "x")
    clock.now += 2 * Breaker.REST

    assert rests(breaker) is None


def test_an_http_answer_counts_against_its_repository_alone(breaker: Breaker) -> None:
    """One image whose manifests are 503 says nothing about the other images of its registry."""
    for _ in range(10 * Breaker.FAILURES):
        breaker.refused("a", "broken")

    assert rests(breaker, "broken") == Breaker.REST
    assert rests(breaker) is None


def test_silence_for_one_repository_counts_against_it_alone(breaker: Breaker) -> None:
    """A registry may compute for ever at one image, and serve the others."""
    for _ in range(10 * Breaker.FAILURES):
        breaker.silent("a", "broken")

    assert rests(breaker, "broken") == Breaker.REST
    assert rests(breaker) is None


def test_silence_for_several_repositories_counts_against_the_host(breaker: Breaker) -> None:
    """Otherwise the first five requests for each repository would wait for their timeouts."""
    for repository in ("1", "2", "1", "2", "1"):
        breaker.silent("a", repository)

    assert rests(breaker) == Breaker.REST


def test_a_repository_with_an_open_circuit_does_not_take_the_trial_of_its_host(breaker: Breaker, clock: Clock) -> None:
    """Its trial fails again, and would keep the host's circuit open for all others."""
    for _ in range(Breaker.FAILURES):
        breaker.refused("a", "broken")
    fail(breaker)
    clock.now += Breaker.REST

    assert rests(breaker, "broken") is None
    assert rests(breaker) is None
    assert rests(breaker) == 2 * Breaker.REST


def test_a_request_that_the_host_refuses_does_not_take_the_trial_of_its_repository(
    breaker: Breaker, clock: Clock
) -> None:
    """No request was sent, so nothing was tried."""
    for _ in range(Breaker.FAILURES):
        breaker.refused("a", "broken")
    clock.now += Breaker.REST
    fail(breaker)

    assert rests(breaker, "broken") == Breaker.REST
    clock.now += Breaker.REST
    assert rests(breaker, "broken") is None


def test_names_without_end_take_no_memory_without_end(breaker: Breaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users choose the names of hosts and repositories."""
    monkeypatch.setattr(module, "CIRCUITS", 10)
    breaker = Breaker()
    for number in range(100):
        breaker.silent(f"host {number}", f"repository {number}")

    assert len(breaker._hosts) == len(breaker._repositories) == 10
