"""Counters, gauges and histograms of this process, which its operator port exposes.

A label has few values, which this server chooses: routes, methods, error codes, names of settings. Text of clients, as
image names, hosts, users and ids, is never a label: each new value would stay in memory.

Source: Prometheus, "Instrumentation", https://prometheus.io/docs/practices/instrumentation/#do-not-overuse-labels
"""

import time
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from threading import Lock
from typing import ClassVar

from prometheus_client import REGISTRY, Gauge, Metric
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds, for requests and calls."""
LONG = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0)
"""Upper bounds in seconds, for builds, scans and other jobs."""


class Durations(Collector):
    """A histogram of seconds. Recording one costs a third of a microsecond, with a lock; prometheus_client's two."""

    def __init__(
        self, name: str, description: str, labels: tuple[str, ...], buckets: tuple[float, ...] = SHORT
    ) -> None:
        self.name = name
        self.labels = labels
        self._description = description
        self._bounds = buckets
        self._lock = Lock()
        self._recorded: dict[tuple[str, ...], list[float]] = {} if labels else {(): self._nothing()}
        REGISTRY.register(self)

    def observe(self, seconds: float, *labels: str) -> None:
        """Record one duration under the values *labels*, in the order of the names."""
        if (recorded := self._recorded.get(labels)) is None:
            recorded = self._recorded.setdefault(labels, self._nothing())
        with self._lock:
            recorded[bisect_left(self._bounds, seconds)] += 1
            recorded[-1] += seconds

    def _nothing(self) -> list[float]:
        """Return the number of durations in each bucket, beyond the last one, and the sum of all."""
        return [0.0] * (len(self._bounds) + 2)

    def describe(self) -> Iterable[Metric]:
        """Return the metric without samples, from which the registry learns its names."""
        return [HistogramMetricFamily(self.name, self._description, labels=self.labels)]

    def collect(self) -> Iterable[Metric]:
        """Return the metric with all samples."""
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        metric = HistogramMetricFamily(self.name, self._description, labels=self.labels)
        for labels, recorded in list(self._recorded.items()):
            with self._lock:
                *counts, total = recorded
            metric.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
        return [metric]


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


class CacheCounter:
    """Counts the lookups in one cache, as integers: `prometheus_client` takes longer for a count than the cache."""

    _all: ClassVar[list["CacheCounter"]] = []

    def __init__(self, cache: str) -> None:
        self.cache = cache
        self.hits = self.misses = 0
        self._all.append(self)

    def hit(self) -> None:
        self.hits += 1

    def miss(self) -> None:
        self.misses += 1

    @classmethod
    def counted(cls) -> Mapping[tuple[str, str], int]:
        """Return the number of lookups by cache and result."""
        counts = Counts[tuple[str, str]]()
        for each in cls._all:
            counts[each.cache, "hit"] += each.hits
            counts[each.cache, "miss"] += each.misses
        return counts


class _Lookups(Collector):
    """The metric of all cache counters."""

    name, labels = "swell_cache_lookups", ("cache", "result")

    def describe(self) -> Iterable[Metric]:
        return [CounterMetricFamily(self.name, "Lookups in a cache, by result: hit or miss.", labels=self.labels)]

    def collect(self) -> Iterable[Metric]:
        (metric,) = self.describe()
        assert isinstance(metric, CounterMetricFamily)  # noqa: S101  (its own)
        for labels, count in CacheCounter.counted().items():
            metric.add_metric(labels, count)
        return [metric]


REGISTRY.register(_Lookups())
