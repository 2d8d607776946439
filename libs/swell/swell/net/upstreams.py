"""Measures requests to other servers, by server: the well-known registries, and the hosts that the operator has set.

Every other host counts as `other`: clients choose the hosts of their images, so their number is not bounded.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from prometheus_client import Gauge
from yarl import URL

from swell.errors import AddressForbidden, UpstreamFailed, UpstreamSlow
from swell.observe.instruments import Durations, Outcome, measured

PUBLIC = frozenset(
    {
        "auth.docker.io",
        "cdn.registry-1.docker.io",
        "community.wave.seqera.io",
        "conda.anaconda.org",
        "gcr.io",
        "ghcr.io",
        "mcr.microsoft.com",
        "nvcr.io",
        "production.cloudflare.docker.com",
        "production.cloudfront.docker.com",
        "public.ecr.aws",
        "quay.io",
        "registry-1.docker.io",
        "registry.gitlab.com",
        "registry.k8s.io",
    }
)
OTHER = "other"

REQUESTS = Durations(
    "swell_upstream_seconds",
    "Requests to other servers, until the head of the response.",
    ("upstream", "method", "outcome"),
)
QUOTA_LEFT = Gauge("swell_upstream_quota_left", "Pulls that the registry still allows this server.", ["upstream"])
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_LEFT = re.compile(r"(\d{1,9})(?:;|$)")


def name_of(url: URL, known_hosts: frozenset[str]) -> str:
    """The label of *url*: its host (with the port, if that is in *known_hosts*), or `other`."""
    host = url.raw_host or ""
    if host in PUBLIC or host in known_hosts:
        return host
    authority = f"{host}:{url.port}"
    return authority if authority in known_hosts else OTHER


@contextmanager
def measuring(upstream: str, method: str) -> Iterator[Outcome]:
    """Measure one request to *upstream*; the block sets the outcome with `outcome_of` when there is a response."""
    with measured(REQUESTS, upstream, method if method in _METHODS else OTHER, unless_set="cancelled") as outcome:
        try:
            yield outcome
        except UpstreamSlow:
            outcome.value = "slow"
            raise
        except AddressForbidden:
            outcome.value = "forbidden"
            raise
        except UpstreamFailed:
            outcome.value = "broken"
            raise


def outcome_of(upstream: str, response: aiohttp.ClientResponse) -> str:
    """The outcome of *response*: `429`, or the class of its status, as `2xx`. Its quota, if it has one, is recorded.

    Source: Docker, "Usage and limits", https://docs.docker.com/docker-hub/usage/pulls/
    """
    if upstream != OTHER and (left := _LEFT.match(response.headers.get("ratelimit-remaining", ""))):
        QUOTA_LEFT.labels(upstream).set(int(left[1]))
    return "429" if response.status == 429 else f"{min(max(response.status // 100, 1), 5)}xx"
