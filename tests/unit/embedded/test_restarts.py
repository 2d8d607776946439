"""The delays after consecutive crashes, and the limit of crashes."""

from swell_embedded.processes.restarts import (
    FIRST_DELAY,
    LONGEST_DELAY,
    MAX_CRASHES,
    STEADY,
    Restarts,
)


def test_delays_grow_until_a_program_is_given_up() -> None:
    """A first crash costs half a second; a program that cannot work does not keep a machine busy."""
    restarts = Restarts()
    delays = [delay for _ in range(MAX_CRASHES) if (delay := restarts.crashed(up=1.0)) is not None]

    assert delays == sorted(delays) and delays[0] == FIRST_DELAY
    assert len(delays) == MAX_CRASHES - 1 and max(delays) <= LONGEST_DELAY


def test_a_program_that_was_steady_begins_anew() -> None:
    """A crash once an hour, for months, ends nothing."""
    restarts = Restarts()

    assert [restarts.crashed(up=STEADY) for _ in range(100)] == [FIRST_DELAY] * 100
    assert restarts.crashed(up=0) == 2 * FIRST_DELAY
