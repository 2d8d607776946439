"""The deadline of the current work: outbound requests end before it.

A caller that waits for a service gets that service's error, which names the registry, and not its own timeout. So each
hop has a shorter deadline than its caller: a service uses `SHARE` of the time that its caller waits.

Source: gRPC, "Deadlines", https://grpc.io/docs/guides/deadlines/
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

SHARE = 0.9
"""The part of a caller's time that outbound requests may use; the rest is for the response."""


class _Deadline:
    """`at` is on the clock of `time.monotonic`. It is lifted when its block ends: background work may continue."""

    def __init__(self, at: float) -> None:
        self.at = at


_current: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """End outbound requests of the block after *seconds*, or earlier if a deadline exists; None changes nothing."""
    if seconds is None:
        yield
        return
    deadline = _Deadline(time.monotonic() + at_most(seconds))
    token = _current.set(deadline)
    try:
        yield
    finally:
        _current.reset(token)
        deadline.at = float("inf")


def at_most(seconds: float) -> float:
    """Return *seconds*, or the time until the deadline of the current work if that is less; never below zero."""
    deadline = _current.get()
    return seconds if deadline is None else max(0.0, min(seconds, deadline.at - time.monotonic()))
