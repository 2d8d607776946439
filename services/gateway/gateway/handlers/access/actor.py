"""The dependency `actor` of handlers: who sends the request, an operator or a user."""

from litestar.di import NamedDependency

from gateway.access.accounts.accounts import Accounts
from gateway.access.keys import Actor
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers


async def actor_of(
    request: HttpRequest, callers: NamedDependency[Callers], accounts: NamedDependency[Accounts]
) -> Actor:
    """The sender of *request*; raises as `Callers.actor`."""
    return await callers.actor(request.scope, accounts)
