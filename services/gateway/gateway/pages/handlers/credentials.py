"""`/view/credentials`: the stored credentials of a user who has signed in, or of any owner for operators."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Redirect

from gateway.access.accounts.accounts import Accounts
from gateway.access.keys import Actor
from gateway.access.vault import Vault, owner_for, path_of
from gateway.adapters.oidc.sign_in import SignIn
from gateway.handlers.access.vault import check_accepted, credentials_of
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers
from gateway.http.sessions import Sessions
from gateway.inspect import Inspector
from gateway.pages.forms import read_form
from gateway.pages.handlers.passwords import sign_in_page
from gateway.pages.handlers.signed_in import signed_in
from gateway.pages.rendering import page
from swell.api.credentials import StoreRequest
from swell.errors import SwellError
from swell.registry.credentials.keyring import Credentials

PATH = "/view/credentials"


@get(PATH)
async def credentials_page(
    request: HttpRequest,
    vault: NamedDependency[Vault],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
    sign_in: NamedDependency[SignIn],
    sessions: NamedDependency[Sessions],
    user: FromQuery[str] = "",
    org: FromQuery[str] = "",
    operator: FromQuery[bool] = False,
) -> Response[str]:
    """The credentials, without passwords. An operator names the owner; without a session, how to sign in."""
    actor = await signed_in(request, callers, accounts, operator=operator)
    if actor is None:
        return sign_in_page(request, sessions, sign_in, PATH)
    return await _show(actor, vault, {"user": user, "org": org})


@post(PATH, request_max_body_size=None)  # `read_form` limits the size
async def store_credential(
    request: HttpRequest,
    vault: NamedDependency[Vault],
    inspector: NamedDependency[Inspector],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
) -> Response[str]:
    """Store a credential after its registry has accepted it."""
    fields = await read_form(request)
    actor = await callers.actor(request.scope, accounts)
    try:
        owner = owner_for(actor, fields.get("user"), fields.get("org"))
        path = path_of(fields.get("registry", ""))
        vault.check_possible()
        body = StoreRequest(user_name=fields.get("userName", ""), password=fields.get("password", "").strip())
        await check_accepted(request, path, body, inspector, callers)
        await vault.put(actor, owner, path, Credentials(body.user_name, body.password))
    except SwellError as error:
        return await _show(actor, vault, fields, problem=error)
    return await _show(actor, vault, {name: fields.get(name, "") for name in ("user", "org")}, stored=path)


@post(f"{PATH}/delete", request_max_body_size=None)  # `read_form` limits the size
async def delete_credential(
    request: HttpRequest,
    vault: NamedDependency[Vault],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
) -> Redirect:
    fields = await read_form(request)
    actor = await callers.actor(request.scope, accounts)
    user, org = fields.get("user", ""), fields.get("org", "")
    await vault.delete(actor, owner_for(actor, user, org), path_of(fields.get("registry", "")))
    return Redirect(PATH, status_code=303, query_params={"user": user, "org": org} if user or org else None)


async def _show(
    actor: Actor, vault: Vault, fields: dict[str, str], *, problem: SwellError | None = None, stored: str = ""
) -> Response[str]:
    """The page; it never contains the password of *fields*."""
    user, org = fields.get("user", ""), fields.get("org", "")
    is_chosen = actor.identity is not None or bool(user or org)
    try:
        credentials = await credentials_of(vault, actor, user or None, org or None) if is_chosen else ()
    except SwellError as error:
        problem, credentials = problem or error, ()
    return page(
        "credentials.html",
        status=problem.status if problem else 200,
        here=PATH,
        actor=actor,
        credentials=credentials,
        is_chosen=is_chosen,
        problem=problem,
        fields=fields,
        stored=stored,
    )
