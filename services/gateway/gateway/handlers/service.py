"""`/service-info`, `/robots.txt` and `/health`: the version, rules for crawlers, and the health of the service."""

from importlib.metadata import version
from typing import Protocol, runtime_checkable

from litestar import Response, get
from litestar.di import NamedDependency

from swell.errors import SwellError

WAVE_API = "1.37.0"  # the version of Wave's API that this server implements; clients compare it as semver


@runtime_checkable
class Backends(Protocol):
    """The backends that the gateway needs: Redis and NATS."""

    async def check(self) -> None:
        """Check the backends.

        Raises:
            Unavailable: one of them does not respond.
        """

    async def engines(self) -> list[str]:
        """The engines of the builders for container files, such as `buildkit 0.34.2`; raises `Unavailable`."""


@get("/service-info")
async def service_info(commit: NamedDependency[str]) -> dict[str, dict[str, str]]:
    info = {"version": WAVE_API, "commitId": commit or "unknown", "swellVersion": version("gateway")}
    return {"serviceInfo": info}


@get("/robots.txt", media_type="text/plain")
async def robots() -> str:
    return "User-agent: *\nDisallow: /\n"


@get(["/health", "/health/readiness"])
async def health(backends: NamedDependency[Backends]) -> Response[dict[str, str]]:
    """UP when Redis and NATS work, with the engines of the builders; otherwise DOWN with 503 and the reason."""
    try:
        return Response(await readiness(backends))
    except SwellError as error:
        return Response({"status": "DOWN", "reason": str(error)}, status_code=503)


async def readiness(backends: Backends) -> dict[str, str]:
    """What `/health` answers when *backends* work; raises `Unavailable`."""
    await backends.check()
    engines = await backends.engines()
    return {"status": "UP", **({"engine": ", ".join(engines)} if engines else {})}


@get("/health/liveness")
async def liveness() -> dict[str, str]:
    return {"status": "UP"}
