"""Ctrl-C that cannot be lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 1.0
"""Seconds until an interrupt without effect is raised again."""


@contextmanager
def repeated_interrupts(again: float = AGAIN) -> Iterator[None]:
    """While the block runs, raise `KeyboardInterrupt` at Ctrl-C, and again every *again* seconds until the block ends.

    Python raises it between any two instructions of the main thread, where it can have no effect: in a finalizer or a
    callback of a weak reference it is printed and dropped; directly before a system call, it waits until the call
    returns; and between the acquisition of a lock and the block that releases it, the lock stays locked, so that
    cleaning up waits without end.

    Source: https://docs.python.org/3/library/signal.html#note-on-signal-handlers-and-exceptions
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    is_open = True

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if is_open:
            signal.setitimer(signal.ITIMER_REAL, again, again)
            raise KeyboardInterrupt

    before = [(number, signal.getsignal(number)) for number in (signal.SIGALRM, signal.SIGINT)]
    if before[1][1] in {signal.SIG_IGN, None}:  # the shell has started this program in the background
        yield
        return
    try:
        for number, _ in before:
            signal.signal(number, interrupt)
        yield
    finally:
        is_open = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            signal.signal(number, handler)
