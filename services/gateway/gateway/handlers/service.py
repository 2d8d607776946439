"""`/service-info` and `/health`: who we are, and whether we can work."""

from importlib.metadata import version
from typing import Protocol, runtime_checkable

from litestar import Response, get
from litestar.di import NamedDependency

from swell.errors import SwellError

WAVE_API = "1.37.0"  # the level of Wave's API that we speak; clients compare it, strict semver


@runtime_checkable
class Backends(Protocol):
    """What the gateway cannot answer without."""

    async def check(self) -> None:
        """Raises: Unavailable: one of them does not answer."""


@get("/service-info")
async def service_info() -> dict[str, dict[str, str]]:
    return {"serviceInfo": {"version": WAVE_API, "commitId": "unknown", "swellVersion": version("gateway")}}


@get(["/health", "/health/readiness"])
async def health(backends: NamedDependency[Backends]) -> Response[dict[str, str]]:
    """UP when state and queue answer, else DOWN with 503 and the reason."""
    try:
        await backends.check()
    except SwellError as error:
        return Response({"status": "DOWN", "reason": str(error)}, status_code=503)
    return Response({"status": "UP"})


@get("/health/liveness")
async def liveness() -> dict[str, str]:
    return {"status": "UP"}
