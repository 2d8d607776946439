"""How requests to other servers are measured."""

import pytest
from multidict import CIMultiDict
from prometheus_client import REGISTRY
from yarl import URL

from swell.errors import AddressForbidden, UpstreamBroken, UpstreamSlow
from swell.net.upstreams import measuring, name_of, outcome_of

KNOWN = frozenset({"registry.internal", "cache.internal:5000"})


class Answer:
    """A response as `outcome_of` reads it."""

    def __init__(self, status: int, **headers: str) -> None:
        self.status = status
        self.headers = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("https://registry-1.docker.io/v2/", "registry-1.docker.io"),
        ("https://registry.internal:8443/v2/", "registry.internal"),
        ("http://cache.internal:5000/v2/", "cache.internal:5000"),
        ("http://cache.internal:5001/v2/", "other"),
        ("https://registry-1.docker.io.example.com/v2/", "other"),
        ("https://a1b2c3.example.com/v2/", "other"),
    ],
)
def test_only_known_hosts_are_named(url: str, label: str) -> None:
    """Clients choose hosts: a label for each one would fill the memory and show which images they use."""
    assert name_of(URL(url), KNOWN) == label


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "2xx"), (307, "3xx"), (404, "4xx"), (429, "429"), (503, "5xx"), (999, "5xx")]
)
def test_the_outcome_is_the_class_of_the_status(status: int, outcome: str) -> None:
    """Registries choose their statuses, so these are no labels either; too many requests are a case of their own."""
    assert outcome_of("quay.io", Answer(status)) == outcome  # type: ignore[arg-type]


def test_the_quota_of_a_known_registry_is_published() -> None:
    """Docker Hub sends what is left of a window; an unknown registry, or nonsense, changes nothing."""
    outcome_of("registry-1.docker.io", Answer(200, ratelimit_remaining="76;w=21600"))  # type: ignore[arg-type]
    for upstream, left in {"other": "5", "quay.io": "many"}.items():
        outcome_of(upstream, Answer(200, ratelimit_remaining=left))  # type: ignore[arg-type]

    def value(upstream: str) -> float | None:
        return REGISTRY.get_sample_value("swell_upstream_quota_left", {"upstream": upstream})

    assert value("registry-1.docker.io") == 76
    assert value("other") is value("quay.io") is None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (UpstreamSlow(), "slow"),
        (UpstreamBroken(), "broken"),
        (AddressForbidden(), "forbidden"),
        (KeyError(), "cancelled"),
    ],
)
def test_failures_are_counted_by_kind(error: Exception, outcome: str) -> None:
    """A slow registry and one that refuses connections need different actions."""
    labels = {"upstream": "ghcr.io", "method": "GET", "outcome": outcome}
    before = REGISTRY.get_sample_value("swell_upstream_seconds_count", labels) or 0
    with pytest.raises(type(error)), measuring("ghcr.io", "GET"):
        raise error
    assert REGISTRY.get_sample_value("swell_upstream_seconds_count", labels) == before + 1
