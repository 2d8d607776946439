"""Durations and spans of requests by route, method and status, without text of clients."""

from litestar.types import Scope

from gateway.http.endpoints import KINDS
from swell.observe.instruments import HTTP
from swell.observe.spans import Value, record_request

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_ROUTES = {kind: f"/v2/{kind}" for kind in KINDS}
_OTHER = "other"


def record(scope: Scope, method: str, status: int, seconds: float) -> None:
    """Record an answered request; *status* is 0 if the client has closed the connection before the response."""
    HTTP.observe(seconds, route_of(scope), _known(method), str(status))


def record_span(scope: Scope, method: str, status: int, seconds: float, client_traceparent: str | None) -> None:
    """Record the span of an answered request that is sampled."""
    route, method = route_of(scope), _known(method)
    attributes: dict[str, Value] = {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
    }
    record_request(f"{method} {route}", seconds, attributes, client_traceparent, failed=status == 0 or status >= 500)


def _known(method: str) -> str:
    return method if method in _METHODS else _OTHER


def route_of(scope: Scope) -> str:
    """The route: the kind of a request under `/v2`, the template of the path elsewhere, or `other`."""
    path = scope["path"]
    if path.startswith("/v2"):
        parts = path.rsplit("/", 2)
        return _ROUTES.get(parts[1], "/v2") if len(parts) == 3 else "/v2"
    return scope.get("path_template") or _OTHER
