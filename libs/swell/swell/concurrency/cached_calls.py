"""A cache of the results of calls: concurrent calls with the same key share one execution, and its result is cached."""

from collections.abc import Callable, Coroutine, Hashable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from cachetools import Cache

from swell.concurrency.single_flight import SingleFlight
from swell.observe.instruments import CacheCounter

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class CachedCalls(Generic[K, V]):
    """Results by key, in *cache*, which limits their number or size and their age. Errors are not cached.

    A result that is larger than the whole cache is returned, but not cached.
    """

    def __init__(self, cache: Cache[K, V], counter: CacheCounter | None = None, *, kept: bool = True) -> None:
        """*counter* counts hits and misses. *kept*: a call without callers continues; see `SingleFlight`."""
        self._cache = cache
        self._counter = counter
        self._calls: SingleFlight[K, V] = SingleFlight(kept=kept)

    def get(self, key: K, is_usable: Callable[[V], bool] | None = None) -> V | None:
        """Return the cached result under *key*, if *is_usable* accepts it; it does not wait, so hits are fast."""
        result = self._cache.get(key)
        if result is not None and is_usable is not None and not is_usable(result):
            result = None
        if self._counter is None:
            return result
        if result is None:
            self._counter.miss()
        else:
            self._counter.hit()
        return result

    async def call(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Return the result, or raise the error, of the execution under *key*; start it if none runs."""
        result = await self._calls.run(key, start)
        with suppress(ValueError):  # larger than the whole cache
            self._cache[key] = result
        return result
