"""Circuits open for what keeps failing, and for nothing else."""

import pytest

from swell.errors import UpstreamDown
from swell.registry import circuit_breaker as module
from swell.registry.circuit_breaker import CircuitBreaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit_breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(clock)


def fail(circuit_breaker: CircuitBreaker, times: int = CircuitBreaker.FAILURES) -> None:
    for _ in range(times):
        circuit_breaker.check("a", "x")
        circuit_breaker.unreachable("a")


def rests(circuit_breaker: CircuitBreaker, repository: str = "x") -> int | None:
    """For how many seconds *repository* of host `a` is refused; None when a request may pass."""
    try:
        circuit_breaker.check("a", repository)
    except UpstreamDown as error:
        return error.retry_after
    return None


def test_some_failures_are_no_reason_yet(circuit_breaker: CircuitBreaker) -> None:
    """One answer between them, and the counting begins again."""
    fail(circuit_breaker, CircuitBreaker.FAILURES - 1)
    circuit_breaker.answered("a", "x")
    fail(circuit_breaker, CircuitBreaker.FAILURES - 1)

    assert rests(circuit_breaker) is None


def test_five_failed_connections_open_the_circuit_of_the_host_alone(circuit_breaker: CircuitBreaker) -> None:
    """The error says when the next trial may start; it concerns every repository of that host, and no other host."""
    fail(circuit_breaker)

    assert rests(circuit_breaker) == rests(circuit_breaker, "y") == CircuitBreaker.REST
    circuit_breaker.check("b", "x")


def test_after_the_rest_one_request_is_the_trial(circuit_breaker: CircuitBreaker, clock: Clock) -> None:
    """A host that comes back must not get all requests at once."""
    fail(circuit_breaker)
    clock.now += CircuitBreaker.REST

    assert rests(circuit_breaker) is None
    assert rests(circuit_breaker) == 2 * CircuitBreaker.REST


def test_an_answer_closes_the_circuit(circuit_breaker: CircuitBreaker, clock: Clock) -> None:
    """At once and for all; the next failures begin with a short rest again."""
    fail(circuit_breaker)
    clock.now += CircuitBreaker.REST
    circuit_breaker.check("a", "x")
    circuit_breaker.answered("a", "x")

    fail(circuit_breaker)

    assert rests(circuit_breaker) == CircuitBreaker.REST


def test_rests_get_longer_up_to_half_a_minute(circuit_breaker: CircuitBreaker, clock: Clock) -> None:
    """A host that is back is found after that time at the latest."""
    fail(circuit_breaker)
    found = []
    for _ in range(5):
        clock.now += CircuitBreaker.LONGEST_REST
        circuit_breaker.check("a", "x")
        circuit_breaker.unreachable("a")
        found.append(rests(circuit_breaker))

    assert found == [10, 20, 30, 30, 30]


def test_a_trial_that_never_ends_blocks_no_other(circuit_breaker: CircuitBreaker, clock: Clock) -> None:
    """Its client may have disconnected, and the request was cancelled."""
    fail(circuit_breaker)
    clock.now += CircuitBreaker.REST
    circuit_breaker.check("a", "x")
    clock.now += 2 * CircuitBreaker.REST

    assert rests(circuit_breaker) is None


def test_an_http_answer_counts_against_its_repository_alone(circuit_breaker: CircuitBreaker) -> None:
    """One image whose manifests are 503 says nothing about the other images of its registry."""
    for _ in range(10 * CircuitBreaker.FAILURES):
        circuit_breaker.refused("a", "broken")

    assert rests(circuit_breaker, "broken") == CircuitBreaker.REST
    assert rests(circuit_breaker) is None


def test_silence_for_one_repository_counts_against_it_alone(circuit_breaker: CircuitBreaker) -> None:
    """A registry may compute for ever at one image, and serve the others."""
    for _ in range(10 * CircuitBreaker.FAILURES):
        circuit_breaker.silent("a", "broken")

    assert rests(circuit_breaker, "broken") == CircuitBreaker.REST
    assert rests(circuit_breaker) is None


def test_silence_for_several_repositories_counts_against_the_host(circuit_breaker: CircuitBreaker) -> None:
    """Otherwise the first five requests for each repository would wait for their timeouts."""
    for repository in ("1", "2", "1", "2", "1"):
        circuit_breaker.silent("a", repository)

    assert rests(circuit_breaker) == CircuitBreaker.REST


def test_a_repository_with_an_open_circuit_does_not_take_the_trial_of_its_host(
    circuit_breaker: CircuitBreaker, clock: Clock
) -> None:
    """Its trial fails again, and would keep the host's circuit open for all others."""
    for _ in range(CircuitBreaker.FAILURES):
        circuit_breaker.refused("a", "broken")
    fail(circuit_breaker)
    clock.now += CircuitBreaker.REST

    assert rests(circuit_breaker, "broken") is None
    assert rests(circuit_breaker) is None
    assert rests(circuit_breaker) == 2 * CircuitBreaker.REST


def test_a_request_that_the_host_refuses_does_not_take_the_trial_of_its_repository(
    circuit_breaker: CircuitBreaker, clock: Clock
) -> None:
    """No request was sent, so nothing was tried."""
    for _ in range(CircuitBreaker.FAILURES):
        circuit_breaker.refused("a", "broken")
    clock.now += CircuitBreaker.REST
    fail(circuit_breaker)

    assert rests(circuit_breaker, "broken") == CircuitBreaker.REST
    clock.now += CircuitBreaker.REST
    assert rests(circuit_breaker, "broken") is None


def test_names_without_end_take_no_memory_without_end(
    circuit_breaker: CircuitBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users choose the names of hosts and repositories."""
    monkeypatch.setattr(module, "CIRCUITS", 10)
    circuit_breaker = CircuitBreaker()
    for number in range(100):
        circuit_breaker.silent(f"host {number}", f"repository {number}")

    assert len(circuit_breaker._hosts) == len(circuit_breaker._repositories) == 10
