"""Leaving hosts alone that do not answer: whoever asks meanwhile hears so at once instead of waiting for a timeout."""

import math
import time
from collections.abc import Callable
from typing import ClassVar

from cachetools import LRUCache
from msgspec import Struct

from swell.errors import UpstreamDown

HOSTS = 10_000


class _Trouble(Struct):
    """What a host has failed since it last answered: how often, how often it was left alone, and until when."""

    failures: int = 0
    rests: int = 0
    until: float = 0.0


class Breaker:
    """Counts failures in a row by host. After five it is left alone for 5 s, then one request may try it while the
    others still hear `UpstreamDown`; each time that fails, the rest is twice as long, at most 30 s. An answer ends it.
    """

    FAILURES: ClassVar[int] = 5
    REST: ClassVar[float] = 5
    LONGEST_REST: ClassVar[float] = 30

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._troubled: LRUCache[str, _Trouble] = LRUCache(HOSTS)

    def check(self, host: str) -> None:
        """Let a request to *host* pass.

        Raises:
            UpstreamDown: it is left alone now; `retry_after` tells for how long.
        """
        trouble = self._troubled.get(host)
        if trouble is None or trouble.failures < self.FAILURES:
            return
        if (left := trouble.until - self._now()) > 0:
            raise UpstreamDown(f"{host} has not answered for a while", retry_after=math.ceil(left))
        self._rest(trouble)  # from the others: this one tries

    def failed(self, host: str) -> None:
        """*host* did not answer, or said that it cannot."""
        trouble = self._troubled.setdefault(host, _Trouble())
        trouble.failures += 1
        if trouble.failures == self.FAILURES:
            self._rest(trouble)

    def answered(self, host: str) -> None:
        self._troubled.pop(host, None)

    def _rest(self, trouble: _Trouble) -> None:
        trouble.until = self._now() + min(self.REST * 2**trouble.rests, self.LONGEST_REST)
        trouble.rests = min(trouble.rests + 1, 10)
