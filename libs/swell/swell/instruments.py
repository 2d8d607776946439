"""Counters, gauges and histograms of this process, which its operator port exposes.

A label has few values, which this server chooses: routes, methods, error codes, names of settings. Text of clients, as
image names, hosts, users and ids, is never a label: each new value would stay in memory.

Source: Prometheus, "Instrumentation", https://prometheus.io/docs/practices/instrumentation/#do-not-overuse-labels
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds, for requests and calls."""
LONG = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0)
"""Upper bounds in seconds, for builds, scans and other jobs."""


class Durations:
    """A histogram of seconds whose label sets are prepared at their first use: later ones cost about a microsecond."""

    def __init__(
        self, name: str, description: str, labels: tuple[str, ...], buckets: tuple[float, ...] = SHORT
    ) -> None:
        self._histogram = Histogram(name, description, labels, buckets=buckets)
        self._prepared: dict[tuple[str, ...], Histogram] = {} if labels else {(): self._histogram}

    def observe(self, seconds: float, *labels: str) -> None:
        """Record one duration under the values *labels*, in the order of the names."""
        if (prepared := self._prepared.get(labels)) is None:
            prepared = self._prepared[labels] = self._histogram.labels(*labels)
        prepared.observe(seconds)


class Outcome:
    """The last label of a duration that is being measured: `value` is set before the block ends."""

    def __init__(self, value: str) -> None:
        self.value = value


@contextmanager
def measured(durations: Durations, *labels: str, unless_set: str = "ERROR") -> Iterator[Outcome]:
    """Measure the block; its last label is the `value` of the yielded outcome, which is *unless_set* at first."""
    outcome, started = Outcome(unless_set), time.perf_counter()
    try:
        yield outcome
    finally:
        durations.observe(time.perf_counter() - started, *labels, outcome.value)


HTTP = Durations("swell_http_seconds", "Requests, until the end of the response.", ("route", "method", "status"))
INFO = Gauge("swell_service_info", "1, with the name and the version of this service.", ["service", "version"])
POOL_USED = Gauge("swell_pool_used", "Members of a pool that are in use.", ["pool"])
POOL_LIMIT = Gauge("swell_pool_limit", "The most members of a pool.", ["pool"])


@contextmanager
def pool(name: str, limit: int) -> Iterator[Gauge]:
    """Publish the *limit* of a pool that exists during the block; its users change the yielded gauge.

    Pools of the same name count together.
    """
    most = POOL_LIMIT.labels(name)
    most.inc(limit)
    try:
        yield POOL_USED.labels(name)
    finally:
        most.dec(limit)


LOOKUPS = Counter("swell_cache_lookups", "Lookups in a cache, by result: hit or miss.", ["cache", "result"])


class CacheCounter:
    """Counts the lookups in one cache."""

    def __init__(self, cache: str) -> None:
        self.hit = LOOKUPS.labels(cache, "hit").inc
        self.miss = LOOKUPS.labels(cache, "miss").inc
