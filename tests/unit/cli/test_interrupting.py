"""Ctrl-C: one press ends what runs, wherever Python raises its exception."""

import signal
import threading
import weakref
from collections.abc import Iterator
from typing import NoReturn

import pytest

from swell_cli.interrupting import repeated_interrupts

DEADLINE = 60.0


def press() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def terminal() -> Iterator[None]:
    """Python's own handler, as at a terminal: a shell that starts the tests in the background ignores the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_in_a_finalizer_is_raised_again() -> None:
    """Python drops the exception of a callback; without the second one, the wait would go on."""

    class Thing:
        """Something with a callback at its end."""

    thing = Thing()
    _reference = weakref.ref(thing, lambda _: press())
    waits = threading.Event()

    def drop_and_wait() -> None:
        nonlocal thing
        thing = Thing()
        waits.wait(DEADLINE)

    with pytest.raises(KeyboardInterrupt), repeated_interrupts(0.05):
        drop_and_wait()


def test_an_interrupt_that_leaves_a_lock_locked_is_raised_again() -> None:
    """It came between the acquisition and the block that releases the lock; the next acquisition waits for ever."""
    lock = threading.Lock()

    def acquire_and_press() -> None:
        lock.acquire()
        press()

    def clean_up() -> NoReturn:
        lock.acquire(timeout=DEADLINE)
        raise AssertionError("the lock was not interrupted")

    def run() -> None:
        try:
            acquire_and_press()
        finally:
            clean_up()

    with pytest.raises(KeyboardInterrupt), repeated_interrupts(0.05):
        run()


def test_the_handlers_are_restored() -> None:
    """The question that follows has its own Ctrl-C, and no alarm ends the program."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)

    with pytest.raises(KeyboardInterrupt), repeated_interrupts(60):
        press()

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_ignored_interrupt_stays_ignored() -> None:
    """A shell starts a program in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with repeated_interrupts():
            press()
    finally:
        signal.signal(signal.SIGINT, before)
