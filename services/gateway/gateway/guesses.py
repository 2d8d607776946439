"""Guessing tokens: whoever asks for one unknown token after the other is made to wait."""

import time
from collections.abc import Callable
from math import ceil

from cachetools import LRUCache, TTLCache

from gateway.domain.quota import Quota
from swell.errors import TooManyRequests


class Guesses:
    """Counts the unknown tokens that each address asks for, each of them once: asking again and again for what has
    expired is no guessing.

    They are counted in this process alone, for the last *size* addresses: a guess is not worth a question to the state
    store. Without a *quota* everybody may guess.
    """

    def __init__(
        self, quota: Quota | None = None, clock: Callable[[], float] = time.monotonic, size: int = 50_000
    ) -> None:
        self._quota = quota
        self._clock = clock
        self._full: LRUCache[str, float] = LRUCache(size)  # when each address may guess as often as the quota says
        self._counted: TTLCache[str, None] = TTLCache(size, ttl=quota.seconds if quota else 1, timer=clock)

    def check(self, address: str) -> None:
        """Let *address* ask for a token of which nothing is known here.

        Raises:
            TooManyRequests: it has guessed too often.
        """
        if self._quota is None or address not in self._full:
            return
        wait = self._full[address] - self._clock() - (self._quota.permits - 1) * self._quota.step / 1e6
        if wait > 0:
            raise TooManyRequests("too many unknown tokens were asked for from this address", retry_after=ceil(wait))

    def missed(self, address: str, token: str) -> None:
        """Count *token*, which *address* has asked for and nobody knows."""
        if self._quota and token not in self._counted:
            self._counted[token] = None
            self._full[address] = max(self._full.get(address, 0.0), self._clock()) + self._quota.step / 1e6
