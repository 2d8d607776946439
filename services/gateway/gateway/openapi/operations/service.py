"""Operations of usage counts and of the server itself."""

from gateway.handlers.metrics import MetricAnswer
from gateway.openapi.operations.operation import ARCHITECTURE, DATE, ORGANISATION, Operation, get, text
from swell.api.health import HealthStatus


def _metric(version: str, name: str) -> Operation:
    is_old = version == "v1alpha2"
    return get(
        f"/{version}/metrics/{name}",
        f"Count {name.replace('/', ' ')}",
        "The count of one day, or of all time without `date`. Days are in UTC.",
        "metrics",
        MetricAnswer,
        query=(DATE, ORGANISATION) if is_old else (DATE, ORGANISATION, ARCHITECTURE),
        errors=(400, 429, 503),
        account=True,
        deprecated=is_old,
    )


METRICS = tuple(
    _metric(version, name)
    for version in ("v1alpha3", "v1alpha2")
    for name in ("builds", "pulls", "fusion/pulls", "mirrors", "scans", "bytes", "hits")
)

SERVICE = (
    get(
        "/service-info",
        "Get the version",
        "The version of Wave's API that this server implements, its own version, and its revision.",
        "service",
        dict[str, dict[str, str]],
    ),
    *(
        get(
            path,
            "Check whether the server is ready",
            "`UP` while anything useful works: with `degraded`, only what `works` lists. Otherwise `DOWN`, 503 and the "
            "reason.",
            "service",
            HealthStatus,
            errors=(503,),
            error=HealthStatus,
        )
        for path in ("/health", "/health/readiness")
    ),
    text("/robots.txt", "Get the rules for crawlers", "No page is for crawlers.", "service"),
    get("/health/liveness", "Check whether the server runs", "Always `UP`.", "service", dict[str, str]),
)
