"""`/service-info`, `/robots.txt` and `/health`: who we are, who need not come, and whether we can work."""

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
async def service_info(commit: NamedDependency[str]) -> dict[str, dict[str, str]]:
    told = {"version": WAVE_API, "commitId": commit or "unknown", "swellVersion": version("gateway")}
    return {"serviceInfo": told}


@get("/robots.txt", media_type="text/plain")
async def robots() -> str:
    return "User-agent: *\nDisallow: /\n"


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
