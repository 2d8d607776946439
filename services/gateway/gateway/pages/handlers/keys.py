"""`/view/keys`: the API keys of a user who has signed in, or of all users for operators."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect
from msgspec import convert

from gateway.access.accounts.accounts import Accounts
from gateway.access.keys import Actor, KeyIssuer
from gateway.adapters.oidc.sign_in import SignIn
from gateway.domain.access.api_key import IssuedKey
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers
from gateway.http.sessions import Sessions
from gateway.pages.forms import read_form
from gateway.pages.handlers.passwords import sign_in_page
from gateway.pages.handlers.signed_in import signed_in
from gateway.pages.rendering import page
from swell.api.keys import KeyRequest
from swell.errors import BadRequest, SwellError

PATH = "/view/keys"
SCOPES = ("build", "pull", "inspect", "mirror", "scan")
LONGEST_LIFE = 3650  # days


@get(PATH)
async def keys_page(
    request: HttpRequest,
    key_issuer: NamedDependency[KeyIssuer],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
    sign_in: NamedDependency[SignIn],
    sessions: NamedDependency[Sessions],
    cursor: FromQuery[str | None] = None,
    operator: FromQuery[bool] = False,
) -> Response[str]:
    """The keys. Without a session, how to sign in; *operator* asks for the password of an operator."""
    actor = await signed_in(request, callers, accounts, operator=operator)
    if actor is None:
        return sign_in_page(request, sessions, sign_in, PATH)
    return await _show(actor, key_issuer, cursor)


@post(PATH, request_max_body_size=None)  # `read_form` limits the size
async def issue_key(
    request: HttpRequest,
    key_issuer: NamedDependency[KeyIssuer],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
) -> Response[str]:
    """Make a key, and show it once."""
    fields = await read_form(request)
    actor = await callers.actor(request.scope, accounts)
    try:
        key, text = await key_issuer.issue(actor, key_request(fields, datetime.now(UTC)))
    except SwellError as error:
        return await _show(actor, key_issuer, None, problem=error, fields=fields)
    return await _show(actor, key_issuer, None, issued=key, text=text)


@post(f"{PATH}/{{key_id:str}}/revoke", request_max_body_size=None)  # `read_form` limits the size
async def revoke_key(
    request: HttpRequest,
    key_id: FromPath[str],
    key_issuer: NamedDependency[KeyIssuer],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
) -> Redirect:
    await read_form(request)
    await key_issuer.revoke(await callers.actor(request.scope, accounts), key_id)
    return Redirect(PATH, status_code=303)


def key_request(fields: dict[str, str], now: datetime) -> KeyRequest:
    """The request for the key in *fields*; an operator may name its user. No `days`: as long as possible."""
    days = fields.get("days", "")
    if days and not (days.isascii() and days.isdigit() and 1 <= int(days[:6]) <= LONGEST_LIFE):
        raise BadRequest(f"a key can be valid for 1 to {LONGEST_LIFE} days")
    members = {
        "name": fields.get("name", ""),
        "scopes": [scope for scope in SCOPES if scope in fields],
        "repositories": fields.get("repositories", "").split(),
        "expires": now + timedelta(days=int(days)) if days else None,
    } | ({"user": fields["user"]} if fields.get("user") else {})
    try:
        return convert(members, KeyRequest)
    except ValueError as error:
        raise BadRequest(str(error)) from error


async def _show(
    actor: Actor,
    key_issuer: KeyIssuer,
    cursor: str | None,
    *,
    problem: SwellError | None = None,
    fields: dict[str, str] | None = None,
    issued: IssuedKey | None = None,
    text: str = "",
) -> Response[str]:
    keys: Sequence[IssuedKey]
    keys, following = await key_issuer.list(actor, None, cursor, None)
    return page(
        "keys.html",
        status=problem.status if problem else 200,
        here=PATH,
        actor=actor,
        keys=keys,
        next=following,
        problem=problem,
        fields=fields or dict.fromkeys(("build", "pull"), "on"),
        issued=issued,
        text=text,
        scopes=SCOPES,
    )
