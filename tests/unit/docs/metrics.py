"""The metrics that the services export."""

import importlib
from collections.abc import Iterable

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

SERVICES = ("gateway", "registry_proxy", "builder", "scanner", "metrics")
LABELS_OF_PROMETHEUS = frozenset({"instance", "job", "le"})


def exported() -> dict[str, frozenset[str]]:
    """The names of all metrics of Swell, as in queries (with `_total`, `_count` and so on), and their labels."""
    for service in SERVICES:
        importlib.import_module(f"{service}.__main__")
    collectors = REGISTRY._names_to_collectors.items()
    return {
        name: frozenset(_labels(each))
        for name, each in collectors
        if name.startswith("swell_") and _is_sample(name, next(iter(each.collect())).type)
    }


def _labels(collector: Collector) -> Iterable[str]:
    return collector._labelnames if isinstance(collector, MetricWrapperBase) else getattr(collector, "labels", ())


def _is_sample(name: str, kind: str) -> bool:
    if name.endswith("_created"):
        return False
    suffixes = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(kind)
    return suffixes is None or name.endswith(suffixes)
