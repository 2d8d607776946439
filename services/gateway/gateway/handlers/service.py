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

    async def engines(self) -> list[str]:
        """What builders build container files with (`buildkit 0.34.2`); raises `Unavailable`."""


@get("/service-info")
async def service_info(commit: NamedDependency[str]) -> dict[str, dict[str, str]]:
    told = {"version": WAVE_API, "commitId": commit or "unknown", "swellVersion": version("gateway")}
    return {"serviceInfo": told}


@get("/robots.txt", media_type="text/plain")
async def robots() -> str:
    return "User-agent: *\nDisallow: /\n"


@get(["/health", "/health/readiness"])
async def health(backends: NamedDependency[Backends]) -> Response[dict[str, str]]:
    """UP when state and queue answer, else DOWN with 503 and the reason; UP names the engines of the builders."""
    try:
        await backends.check()
        engines = await backends.engines()
    except SwellError as error:
        return Response({"status": "DOWN", "reason": str(error)}, status_code=503)
    return Response({"status": "UP", **({"engine": ", ".join(engines)} if engines else {})})


@get("/health/liveness")
async def liveness() -> dict[str, str]:
    return {"status": "UP"}
