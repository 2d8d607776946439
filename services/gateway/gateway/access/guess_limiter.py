"""Limit guesses: an address that tries one unknown secret after the other is answered 429.

Secrets are whatever opens something for anyone who knows it: tokens, ids of requests and builds, API keys, passwords.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil

from cachetools import LRUCache, TTLCache

from gateway.domain.quota import Quota
from swell.errors import (
    AccountRequired,
    EndpointUnpaired,
    NameUnknown,
    NotFound,
    NotYours,
    TooManyRequests,
    Unauthorized,
)

MISSES = (AccountRequired, EndpointUnpaired, NameUnknown, NotFound, NotYours, Unauthorized)
"""The errors that say that a secret opens nothing."""


class GuessLimiter:
    """Counts the unknown secrets that each address tries, each of them once: trying one that has expired again and
    again is no guess. All kinds of secrets count against one quota of the address.

    Secrets that opened something lately are known: an address that has used up its quota may still use them.
    The counts are kept in this process alone, for the last *size* addresses and secrets, and of secrets only a keyed
    hash: counting needs no call to the state store. Without a *quota* nothing is limited.
    """

    def __init__(
        self, quota: Quota | None = None, clock: Callable[[], float] = time.monotonic, size: int = 50_000
    ) -> None:
        self._quota = quota
        self._clock = clock
        self._key = os.urandom(32)
        self._full: LRUCache[str, float] = LRUCache(size)  # when each address may guess as often as the quota says
        self._counted: TTLCache[bytes, None] = TTLCache(size, ttl=quota.seconds if quota else 1, timer=clock)
        self._known: LRUCache[bytes, None] = LRUCache(size)

    def check(self, address: str) -> None:
        """Let *address* try a secret of which nothing is known here.

        Raises:
            TooManyRequests: it has guessed too often.
        """
        if self._quota is None or address not in self._full:
            return
        wait = self._full[address] - self._clock() - (self._quota.permits - 1) * self._quota.step / 1e6
        if wait > 0:
            raise TooManyRequests(
                "too many unknown tokens, ids, keys or passwords were tried from this address", retry_after=ceil(wait)
            )

    def missed(self, address: str, secret: str | None) -> None:
        """Count *secret*, which *address* has tried and which opens nothing; None counts each time."""
        if self._quota is None:
            return
        if secret is not None:
            fingerprint = self._fingerprint(secret)
            self._known.pop(fingerprint, None)
            if fingerprint in self._counted:
                return
            self._counted[fingerprint] = None
        self._full[address] = max(self._full.get(address, 0.0), self._clock()) + self._quota.step / 1e6

    def opened(self, secret: str) -> None:
        """Remember that *secret* opens something."""
        if self._quota:
            self._known[self._fingerprint(secret)] = None

    def knows(self, secret: str) -> bool:
        """Whether *secret* opened something lately, so that trying it is no guess."""
        return self._quota is None or self._fingerprint(secret) in self._known

    @contextmanager
    def attempt(self, address: str, secret: str) -> Iterator[None]:
        """Try *secret* in the block, which raises one of `MISSES` when it opens nothing.

        Raises:
            TooManyRequests: *address* has guessed too often, and *secret* is not known; the block is not run.
        """
        if not self.knows(secret):
            self.check(address)
        try:
            yield
        except MISSES:
            self.missed(address, secret)
            raise
        self.opened(secret)

    def _fingerprint(self, secret: str) -> bytes:
        return hashlib.blake2b(secret.encode("utf-8", "replace"), digest_size=16, key=self._key).digest()
