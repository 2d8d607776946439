"""Rate limit for guessing secrets: an address that tries many unknown secrets gets 429.

Secrets are what gives access to the holder: tokens, request ids, build ids, API keys and passwords.
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
    SessionExpired,
    TooManyRequests,
    Unauthorized,
)

MISSES = (AccountRequired, EndpointUnpaired, NameUnknown, NotFound, NotYours, SessionExpired, Unauthorized)
"""The errors that mean: the secret is unknown."""


class GuessLimiter:
    """Counts the unknown secrets of each address, each secret once, all kinds of secrets against one quota.

    Repeating one unknown secret is not a guess: a client may poll a token that has expired. A secret that was valid
    recently is known: an address may use it even when its quota is used up.

    The counts are in this process only, for the *size* most recent addresses and secrets; no call to the state store
    is needed. Of a secret only a keyed hash is stored. Without a *quota* there is no limit.
    """

    def __init__(
        self, quota: Quota | None = None, clock: Callable[[], float] = time.monotonic, size: int = 50_000
    ) -> None:
        self._quota = quota
        self._clock = clock
        self._key = os.urandom(32)
        self._full_at: LRUCache[str, float] = LRUCache(size)  # when the quota of each address is full again
        self._counted: TTLCache[bytes, None] = TTLCache(size, ttl=quota.seconds if quota else 1, timer=clock)
        self._known: LRUCache[bytes, None] = LRUCache(size)

    def check(self, address: str) -> None:
        """Check that *address* may try an unknown secret.

        Raises:
            TooManyRequests: its quota is used up.
        """
        if self._quota is None or address not in self._full_at:
            return
        wait = self._full_at[address] - self._clock() - (self._quota.permits - 1) * self._quota.step / 1e6
        if wait > 0:
            raise TooManyRequests(
                "too many unknown tokens, ids, keys or passwords were tried from this address", retry_after=ceil(wait)
            )

    def count_miss(self, address: str, secret: str | None) -> None:
        """Count the unknown *secret* for *address*; None is counted each time."""
        if self._quota is None:
            return
        if secret is not None:
            fingerprint = self._fingerprint(secret)
            self._known.pop(fingerprint, None)
            if fingerprint in self._counted:
                return
            self._counted[fingerprint] = None
        self._full_at[address] = max(self._full_at.get(address, 0.0), self._clock()) + self._quota.step / 1e6

    def remember(self, secret: str) -> None:
        """Store that *secret* is valid."""
        if self._quota:
            self._known[self._fingerprint(secret)] = None

    def is_known(self, secret: str) -> bool:
        """Whether *secret* was valid recently, so that using it is not a guess."""
        return self._quota is None or self._fingerprint(secret) in self._known

    @contextmanager
    def attempt(self, address: str, secret: str) -> Iterator[None]:
        """Try *secret* in the block, which raises one of `MISSES` when the secret is unknown.

        Raises:
            TooManyRequests: the quota of *address* is used up, and *secret* is not known; the block does not run.
        """
        if not self.is_known(secret):
            self.check(address)
        try:
            yield
        except MISSES:
            self.count_miss(address, secret)
            raise
        self.remember(secret)

    def _fingerprint(self, secret: str) -> bytes:
        return hashlib.blake2b(secret.encode("utf-8", "replace"), digest_size=16, key=self._key).digest()
