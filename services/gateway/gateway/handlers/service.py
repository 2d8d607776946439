"""`/service-info`, `/robots.txt` and `/health`: the version, rules for crawlers, and the health of the service."""

from importlib.metadata import version
from typing import Protocol, runtime_checkable

from litestar import Response, get
from litestar.di import NamedDependency

from swell.api.health import HealthStatus
from swell.observe.health import Report

WAVE_API = "1.37.0"  # the version of Wave's API that this server implements; clients compare it as semver


@runtime_checkable
class Backends(Protocol):
    """What works of the gateway."""

    async def report(self) -> Report:
        """Return what works and what does not, within 3 s."""

    @property
    def engines(self) -> list[str]:
        """The engines of the builders for container files, such as `buildkit 0.34.2`, when they last reported."""


@get("/service-info")
async def service_info(commit: NamedDependency[str]) -> dict[str, dict[str, str]]:
    info = {"version": WAVE_API, "commitId": commit or "unknown", "swellVersion": version("gateway")}
    return {"serviceInfo": info}


@get("/robots.txt", media_type="text/plain")
async def robots() -> str:
    return "User-agent: *\nDisallow: /\n"


@get(["/health", "/health/readiness"])
async def health(backends: NamedDependency[Backends]) -> Response[HealthStatus]:
    """UP while anything useful works, with the engines of the builders; otherwise DOWN with 503 and the reason."""
    status = (await backends.report()).status(", ".join(backends.engines))
    return Response(status, status_code=200 if status.status == "UP" else 503)


@get("/health/liveness")
async def liveness() -> dict[str, str]:
    return {"status": "UP"}
