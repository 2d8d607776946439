"""`/view/usage`: usage per day and organisation, for operators."""

from datetime import UTC, datetime

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.access.accounts.accounts import Accounts
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers
from gateway.pages.handlers.operator import PAGES
from gateway.pages.rendering import page
from gateway.pages.usage import METRICS, usage_view
from gateway.usage import Counters


@get("/view/usage")
async def usage_page(
    request: HttpRequest,
    accounts: NamedDependency[Accounts],
    callers: NamedDependency[Callers],
    counters: NamedDependency[Counters],
    org: FromQuery[str] = "",
) -> Response[str]:
    await callers.require_operator(request.scope, accounts)
    view = await usage_view(counters, datetime.now(UTC).date(), org[:200])
    return page("usage.html", here="/view/usage", pages=PAGES, view=view, titles=list(METRICS.values()), org=org[:200])
