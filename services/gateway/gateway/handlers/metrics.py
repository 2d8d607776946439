"""`/v1alpha2/metrics` and `/v1alpha3/metrics`: usage counts, for operators.

The path ends in `builds`, `pulls`, `fusion/pulls`, `mirrors`, `scans`, `bytes` or `hits`; the query may have
`date`, `org` and `arch`.
"""

from collections.abc import Mapping

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import Struct, structs

from gateway.access.accounts.accounts import Accounts
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers
from gateway.usage import Counters, UsageQuery, parse_usage_query
from swell.errors import AccountRequired, NotFound

_METRICS = {
    "/builds": "builds",
    "/pulls": "pulls",
    "/fusion/pulls": "fusion",
    "/mirrors": "mirrors",
    "/scans": "scans",
    "/bytes": "bytes",
    "/hits": "hits",
}
_CHALLENGE = {"WWW-Authenticate": "Basic realm=Wave Authentication"}

Text = FromQuery[str | None]


class MetricAnswer(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A usage count; `arch` is set if the request had one, `orgs` if an organisation was counted."""

    metric: str
    arch: str = ""
    count: int
    orgs: Mapping[str, int] = {}


@get("/v1alpha2/metrics/{metric:path}")
async def metric_of_any_arch(
    request: HttpRequest,
    metric: FromPath[str],
    accounts: NamedDependency[Accounts],
    callers: NamedDependency[Callers],
    counters: NamedDependency[Counters],
    date: Text = None,
    org: Text = None,
    arch: Text = None,
) -> MetricAnswer:
    """Count a metric. This older version validates `arch` and then ignores it."""
    query = parse_usage_query(metric_name(metric), date, org, arch)
    await callers.require_operator(request.scope, accounts)
    return await count(structs.replace(query, architecture=""), counters)


@get("/v1alpha3/metrics/{metric:path}")
async def metric(
    request: HttpRequest,
    metric: FromPath[str],
    accounts: NamedDependency[Accounts],
    callers: NamedDependency[Callers],
    counters: NamedDependency[Counters],
    date: Text = None,
    org: Text = None,
    arch: Text = None,
) -> MetricAnswer:
    query = parse_usage_query(metric_name(metric), date, org, arch)
    await callers.require_operator(request.scope, accounts)
    return await count(query, counters)


def metric_name(path: str) -> str:
    """The name of the metric at *path*; raises `NotFound`."""
    if path not in _METRICS:
        raise NotFound(f"there are no metrics of {path[1:80]!r}; there are {', '.join(_METRICS)}")
    return _METRICS[path]


async def count(query: UsageQuery, counters: Counters) -> MetricAnswer:
    usage = await counters.usage(query)
    return MetricAnswer(metric=query.metric, arch=query.architecture, count=usage.count, orgs=dict(usage.organisations))


def challenge(_: HttpRequest, __: AccountRequired) -> Response[str]:
    """The response without an account, as Wave sends it: no body, and the realm without quotes."""
    return Response("", status_code=401, headers=_CHALLENGE, media_type="text/plain")
