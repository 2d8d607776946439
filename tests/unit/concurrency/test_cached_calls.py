"""Results of calls are cached, and concurrent calls are one."""

import asyncio

import pytest
from cachetools import LRUCache

from swell.concurrency.cached_calls import CachedCalls
from swell.errors import Unavailable
from swell.observe.instruments import CacheCounter


class Source:
    """Returns *text*, and counts how often it is read."""

    def __init__(self, text: str = "text") -> None:
        self.text = text
        self.reads = 0

    async def __call__(self) -> str:
        self.reads += 1
        await asyncio.sleep(0)
        if not self.text:
            raise Unavailable("no text")
        return self.text


def cached_texts(counter: CacheCounter | None = None) -> CachedCalls[str, str]:
    return CachedCalls(LRUCache(10, getsizeof=len), counter)


async def test_concurrent_calls_are_one_and_its_result_is_cached() -> None:
    """A hundred clients that miss at once cause one request."""
    texts, source = cached_texts(), Source()

    assert await asyncio.gather(*(texts.call("a", source) for _ in range(100))) == ["text"] * 100
    assert texts.get("a") == "text"
    assert source.reads == 1


async def test_a_result_larger_than_the_cache_is_returned() -> None:
    """It must not fail, and must not remove the others."""
    texts = cached_texts()
    await texts.call("small", Source("small"))

    assert await texts.call("large", Source("x" * 11)) == "x" * 11
    assert (texts.get("small"), texts.get("large")) == ("small", None)


async def test_errors_are_not_cached() -> None:
    """The next call tries again."""
    texts, source = cached_texts(), Source("")
    with pytest.raises(Unavailable):
        await texts.call("a", source)
    source.text = "text"

    assert await texts.call("a", source) == "text"


async def test_an_unusable_result_is_a_miss() -> None:
    """As the location of a blob that is about to expire."""
    counter = CacheCounter("texts")
    texts = cached_texts(counter)
    texts.get("a")
    await texts.call("a", Source())

    assert texts.get("a", lambda text: text != "text") is None
    assert texts.get("a", lambda text: text == "text") == "text"
    assert (counter.hits, counter.misses) == (1, 2)
