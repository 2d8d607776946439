"""The guard of the handlers that return records: each handler names its row of the table with `reads`."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from gateway.access.accounts import Accounts
from gateway.access.read_access import ReadAccess
from gateway.domain.identity import Identity, Scope
from gateway.domain.record_access import Resource
from gateway.http.caller import Callers, authorization_of, bearer

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]

_READS = "reads"
OPERATOR = Identity(user="operator", scopes=frozenset({Scope.ADMINISTER}))


def reads(resource: Resource) -> dict[str, Resource]:
    """The `opt` of a handler that returns *resource*; its first path parameter is the id of the record."""
    return {_READS: resource}


def resource_of(handler: BaseRouteHandler) -> Resource | None:
    """What *handler* returns, if that is a record."""
    resource: Resource | None = handler.opt.get(_READS)
    return resource


def read_guard(access: ReadAccess, callers: Callers, accounts: Accounts) -> Guard:
    """A guard that checks each request for a record."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        resource = resource_of(handler)
        if resource is None or access.is_public(resource):
            return
        headers = connection.scope["headers"]
        if bearer(headers) is None and authorization_of(headers):
            await callers.require_operator(connection.scope, accounts)
            identity = OPERATOR
        else:
            identity = (await callers.identify(connection.scope)).identity
        record_id = next(iter(connection.path_params.values()), "")
        await access.check(resource, str(record_id), identity)

    return guard
