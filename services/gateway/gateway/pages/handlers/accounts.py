"""`/view/operator/accounts`: the accounts of users and operators, for operators; `/view/account`: a user's own."""

from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect
from msgspec import convert

from gateway.access.accounts.accounts import Accounts
from gateway.access.accounts.manage_accounts import AccountManager
from gateway.access.keys import Actor
from gateway.adapters.oidc.sign_in import SignIn
from gateway.domain.access.account import Account, new_password
from gateway.domain.access.identity import OPERATORS_SCOPES, USER_SCOPES, Scope
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers
from gateway.http.sessions import Sessions
from gateway.pages.forms import read_form
from gateway.pages.handlers.operator import LISTED, show
from gateway.pages.handlers.passwords import sign_in_page
from gateway.pages.handlers.signed_in import signed_in
from gateway.pages.rendering import page
from swell.api.accounts import AccountChange, AccountRequest
from swell.errors import BadRequest, NotFound, SwellError

HERE = "/accounts"
PATH = f"/view/operator{HERE}"
OWN = "/view/account"
SCOPES = tuple(sorted(USER_SCOPES)) + tuple(sorted(OPERATORS_SCOPES))


@get(HERE)
async def accounts_page(
    request: HttpRequest,
    account_manager: NamedDependency[AccountManager],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
    cursor: FromQuery[str | None] = None,
) -> Response[str]:
    return await _show(await callers.actor(request.scope, accounts), account_manager, cursor)


@post(HERE, request_max_body_size=None)  # `read_form` limits the size
async def create_account(
    request: HttpRequest,
    account_manager: NamedDependency[AccountManager],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
) -> Response[str]:
    """Make an account. A password that the server has chosen is shown once."""
    fields, actor = await read_form(request), await _operator(request, callers, accounts)
    try:
        wanted = account_request(fields)
        account, password = await account_manager.create(actor, wanted, callers.address(request.scope))
    except SwellError as error:
        return await _show(actor, account_manager, None, problem=error, fields=fields)
    return await _show(actor, account_manager, None, changed=account, password=password)


@post(f"{HERE}/{{name:str}}/{{change:str}}", request_max_body_size=None)  # `read_form` limits the size
async def change_account(
    request: HttpRequest,
    name: FromPath[str],
    change: FromPath[str],
    account_manager: NamedDependency[AccountManager],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
) -> Response[str] | Redirect:
    """Disable, enable or delete an account, or give it a password that the server chooses and shows once."""
    await read_form(request)
    actor, address = await _operator(request, callers, accounts), callers.address(request.scope)
    match change:
        case "disable" | "enable":
            await account_manager.change(actor, name, AccountChange(disabled=change == "disable"), address)
        case "delete":
            await account_manager.remove(actor, name)
        case "reset":
            password = new_password()
            account = await account_manager.change(actor, name, AccountChange(password=password), address)
            return await _show(actor, account_manager, None, changed=account, password=password)
        case _:
            raise NotFound(f"an account cannot be changed by {change[:40]}")
    return Redirect(PATH, status_code=303)


@get(OWN)
async def own_account_page(
    request: HttpRequest,
    account_manager: NamedDependency[AccountManager],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
    sign_in: NamedDependency[SignIn],
    sessions: NamedDependency[Sessions],
) -> Response[str]:
    """Who has signed in, and the form for another password; without a session, how to sign in."""
    actor = await signed_in(request, callers, accounts, operator=False)
    if actor is None:
        return sign_in_page(request, sessions, sign_in, OWN)
    return await _show_own(actor, account_manager)


@post(OWN, request_max_body_size=None)  # `read_form` limits the size
async def change_own_password(
    request: HttpRequest,
    account_manager: NamedDependency[AccountManager],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
    sign_in: NamedDependency[SignIn],
    sessions: NamedDependency[Sessions],
) -> Response[str]:
    """Set another password; the sessions of the account end, so its user signs in again."""
    fields = await read_form(request)
    actor = await callers.actor(request.scope, accounts)
    change = AccountChange(password=fields.get("password", ""), current_password=fields.get("currentPassword", ""))
    try:
        await account_manager.change(actor, actor.name, change, callers.address(request.scope))
    except SwellError as error:
        return await _show_own(actor, account_manager, problem=error)
    return sign_in_page(request, sessions, sign_in, OWN, status=200, name=actor.name)


def account_request(fields: dict[str, str]) -> AccountRequest:
    """The request for the account in *fields*. Without a password, the server chooses one.

    Raises:
        BadRequest: a field is not valid; the message names it.
    """
    members: dict[str, Any] = {name: fields.get(name, "") for name in ("name", "email", "organisation")}
    members["scopes"] = [scope for scope in SCOPES if f"may-{scope}" in fields]
    if fields.get("password"):
        members["password"] = fields["password"]
    try:
        return convert(members, AccountRequest)
    except ValueError as error:
        raise BadRequest(str(error)) from error


async def _operator(request: HttpRequest, callers: Callers, accounts: Accounts) -> Actor:
    actor = await callers.actor(request.scope, accounts)
    if actor.identity:
        actor.identity.require(Scope.ADMINISTER)
    return actor


async def _show(
    actor: Actor,
    account_manager: AccountManager,
    cursor: str | None,
    *,
    problem: SwellError | None = None,
    fields: dict[str, str] | None = None,
    changed: Account | None = None,
    password: str = "",
) -> Response[str]:
    """The page, with the *password* of the account that was *changed*; it never repeats one of *fields*."""
    listed, following = await account_manager.list(actor, cursor, LISTED)
    return show(
        "accounts",
        HERE,
        status=problem.status if problem else 200,
        accounts=listed,
        next=following,
        problem=problem,
        fields=fields or {f"may-{scope}": "on" for scope in USER_SCOPES},
        changed=changed,
        password=password,
        scopes=SCOPES,
    )


async def _show_own(
    actor: Actor, account_manager: AccountManager, *, problem: SwellError | None = None
) -> Response[str]:
    try:
        account = await account_manager.get(actor, actor.name)
    except NotFound:
        account = None  # the user of an issuer, a key or a Platform, or an operator of the htpasswd file
    status = problem.status if problem else 200
    return page("account.html", status=status, here=OWN, actor=actor, own=account, problem=problem)
