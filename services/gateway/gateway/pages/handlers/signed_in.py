"""Who looks at a page that belongs to a user or an operator."""

from gateway.access.accounts.accounts import Accounts
from gateway.access.keys import Actor
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers
from swell.errors import AccountRequired, Unauthorized


async def signed_in(request: HttpRequest, callers: Callers, accounts: Accounts, *, operator: bool) -> Actor | None:
    """The user or operator who sends *request*; None for others. *operator* asks for the password of an operator.

    Raises:
        AccountRequired: *operator* is set, and it is neither.
    """
    try:
        return await callers.actor(request.scope, accounts)
    except Unauthorized as error:
        if operator:
            raise AccountRequired from error
        return None
