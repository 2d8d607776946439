"""The guard of the handlers that return records: each handler names its row of the table with `reads`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from gateway.access.accounts.accounts import Accounts
from gateway.access.read_access import ReadAccess
from gateway.domain.access.identity import Identity, Scope
from gateway.domain.access.record_access import Resource
from gateway.http.caller import Callers, authorization_of, bearer
from swell.errors import SwellError, Unavailable
from swell.log import log

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]

Check = Callable[[], Awaitable[None]]
CHECKED_AGAIN = 30.0
"""Seconds after which the reader of a log that is followed is checked again."""

_READS = "reads"
_STILL_ALLOWED = "still_allowed"
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
            identity = (await callers.account(connection.scope, accounts)).identity or OPERATOR
        else:
            identity = (await callers.identify(connection.scope)).identity
        record_id = next(iter(connection.path_params.values()), "")
        await access.check(resource, str(record_id), identity)
        connection.state[_STILL_ALLOWED] = partial(guard, connection, handler)

    return guard


def while_allowed(request: Request[Any, Any, Any], pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """*pieces*, the response to *request*, until its sender may not read the record any more."""
    check: Check | None = getattr(request.state, _STILL_ALLOWED, None)
    return pieces if check is None else until_refused(pieces, check)


async def until_refused(
    pieces: AsyncIterator[bytes], check: Check, interval: float = CHECKED_AGAIN
) -> AsyncIterator[bytes]:
    """*pieces*, until *check*, which is called about every *interval* seconds, refuses.

    While a store does not answer, they go on.
    """
    checked = monotonic()
    async for piece in pieces:
        if monotonic() - checked >= interval:
            try:
                await check()
            except Unavailable as error:
                log.info("reader of a log not checked again", error=str(error))
            except SwellError as error:
                log.info("reader of a log refused", error=str(error))
                return
            checked = monotonic()
        yield piece
