"""A cache of values that may be revoked: grants and API keys."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from cachetools import Cache, LRUCache, TTLCache

from swell.concurrency.single_flight import SingleFlight
from swell.errors import Unavailable
from swell.observe.instruments import CacheCounter

V = TypeVar("V")

FRESH = 5.0  # seconds; an older value is confirmed again, in the background
STALE = 10.0  # seconds; for an older value the request waits for the store
MAX_UNCONFIRMED = 900.0  # seconds without the store
TIMEOUT = 0.5  # seconds that a request waits; then no request waits for FRESH seconds


class _Cached(NamedTuple, Generic[V]):
    """A value, and when the store last confirmed it (monotonic seconds)."""

    value: V
    confirmed: float


class ConfirmedCache(Generic[V]):
    """The values used most recently, until they expire; at most *size* bytes. Unknown keys are not cached.

    A revocation event evicts a value immediately. Because an event may be lost, a value is confirmed again after some
    seconds: in the background while it is in constant use, otherwise the request waits. While the store does not
    respond, a cached value is used for at most a quarter of an hour.

    *fetch* reads a value, or None, from the store. *weight* is an upper bound of its bytes, *expires* its end in
    seconds since 1970.
    """

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[V | None]],
        size: int,
        weight: Callable[[V], int],
        expires: Callable[[V], float],
        lookups: CacheCounter,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = fetch
        self._weight = weight
        self._lookups = lookups
        self._expires = expires
        self._now = now
        self._cached: LRUCache[str, _Cached[V]] = LRUCache(size, getsizeof=lambda cached: weight(cached.value))
        self._single_flight: SingleFlight[str, V | None] = SingleFlight()
        self._revoked: TTLCache[str, None] = TTLCache(10_000, ttl=60)
        self._changed: TTLCache[str, int] = TTLCache(10_000, ttl=60)
        self._unavailable_until = -math.inf
        self._last_confirmed = -math.inf

    @property
    def can_serve(self) -> bool:
        """Whether a cached value can be used without the store."""
        return bool(self._cached) and self._now() - self._last_confirmed <= MAX_UNCONFIRMED

    def __contains__(self, key: str) -> bool:
        """Whether *key* had a value when it was last used."""
        return key in self._cached

    def is_fresh(self, key: str, value: V) -> bool:
        """Whether *value* is what `get` returns for *key* without a call; it does not count as a use of the value."""
        try:
            cached = Cache.__getitem__(self._cached, key)  # not LRUCache's, which takes five times as long
        except KeyError:
            return False
        is_recent = self._now() - cached.confirmed <= FRESH
        return is_recent and cached.value is value and self._expires(value) > time.time()

    def fresh(self, key: str) -> V | None:
        """The value that `get` returns for *key* without a call, or None."""
        cached = self._cached.get(key)
        return cached.value if cached and self.is_fresh(key, cached.value) else None

    def clear(self) -> None:
        """Remove all values: events of their changes may have been lost."""
        for key in list(self._cached):
            self.forget(key)

    def add(self, key: str, value: V) -> None:
        """Cache *value*, which the store has now."""
        if self._weight(value) <= self._cached.maxsize:
            self._last_confirmed = self._now()
            self._cached[key] = _Cached(value, self._last_confirmed)

    def evict(self, key: str) -> None:
        """Remove a value that was revoked, and ignore responses of the store that are older."""
        self._revoked[key] = None
        self._cached.pop(key, None)

    def forget(self, key: str) -> None:
        """Remove a value that was changed, so that the next request reads it again."""
        self._changed[key] = self._changed.get(key, 0) + 1
        self._cached.pop(key, None)

    async def get(self, key: str) -> V | None:
        if cached := self._cached.get(key):
            self._lookups.hit()
            value = await self._confirmed(key, cached)
        else:
            self._lookups.miss()
            value = await self._single_flight.run(key, lambda: self._fetch(key))
        return value if value is not None and self._expires(value) > time.time() else None

    async def _confirmed(self, key: str, cached: _Cached[V]) -> V | None:
        """The value of *cached*; reads it again when it is too old."""
        now = self._now()
        age = now - cached.confirmed
        if age <= FRESH:
            return cached.value
        fetching = self._single_flight.begin(key, lambda: self._fetch(key))
        if age <= STALE or (now < self._unavailable_until and age <= MAX_UNCONFIRMED):
            return cached.value
        try:
            async with asyncio.timeout(TIMEOUT):
                return await asyncio.shield(fetching)
        except (Unavailable, TimeoutError) as error:
            if age > MAX_UNCONFIRMED:
                raise Unavailable("the state store does not answer, so the token cannot be checked") from error
            self._unavailable_until = now + FRESH
            return cached.value

    async def _fetch(self, key: str) -> V | None:
        changes = self._changed.get(key)
        value = await self._read(key)
        if self._changed.get(key) != changes:  # changed before the response of the store arrived
            value = await self._read(key)
        if value is None or key in self._revoked:  # revoked before the response of the store arrived
            self._cached.pop(key, None)
            return None
        cached = self._cached.get(key)
        if cached and cached.value == value:
            value = cached.value  # what depends on it stays valid
        self.add(key, value)
        return value
