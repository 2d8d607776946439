"""`/auth/password`: sign in with a browser, with the name and the password of an account."""

import re
import secrets

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Redirect

from gateway.access.accounts.accounts import Accounts, basic
from gateway.adapters.oidc.sign_in import SignIn, own_path
from gateway.domain.access.identity import USER_SCOPES, Identity, Scope
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers
from gateway.http.sessions import Sessions, check_csrf, cookies_of, csrf_token
from gateway.pages.forms import read_form
from gateway.pages.rendering import page
from swell.errors import AccountRequired, BadRequest, SwellError
from swell.log import log

PATH = "/auth/password"
FORM_COOKIE = "swell_form"
FORM_SECONDS = 3600
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


@get(PATH)
async def password_form(
    request: HttpRequest,
    sign_in: NamedDependency[SignIn],
    sessions: NamedDependency[Sessions],
    next: FromQuery[str | None] = None,  # noqa: A002
) -> Response[str]:
    """The form, after which the browser goes to the path *next*."""
    return sign_in_page(request, sessions, sign_in, own_path(next or "/"), status=200)


@post(PATH, request_max_body_size=None)  # `read_form` limits the size
async def sign_in_with_password(
    request: HttpRequest,
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
    sign_in: NamedDependency[SignIn],
    sessions: NamedDependency[Sessions],
) -> Response[str] | Redirect:
    """Start a session of the account, or show the form again.

    The form has the CSRF token of a cookie that came with it: no other site can sign a browser in.
    """
    fields = await read_form(request)
    name, following = fields.get("name", ""), own_path(fields.get("next", "/"))
    if (secret := _form_secret(request, sessions)) is None:
        problem = BadRequest("the form is older than an hour, or this browser does not accept cookies")
        return sign_in_page(request, sessions, sign_in, following, problem=problem, name=name)
    check_csrf(request.scope, secret)
    mark = await accounts.mark(name)  # before the check: a password that is changed meanwhile opens nothing
    try:
        actor = await callers.check_account(request.scope, accounts, basic(name, fields.get("password", "")))
        if mark is None:
            raise AccountRequired
    except AccountRequired:
        refused = AccountRequired("the name or the password is wrong")
        return sign_in_page(request, sessions, sign_in, following, problem=refused, name=name)
    identity = actor.identity or Identity(user=actor.name, scopes=USER_SCOPES | {Scope.ADMINISTER})
    cookie = await sessions.start(identity, former=sessions.secret_of(request.scope), account_mark=mark)
    log.info("signed in", user=identity.user)
    used = sessions.cookie(sessions.own_name(FORM_COOKIE), "", 0)
    return Redirect(following, status_code=303, cookies=[cookie, used], headers={"Cache-Control": "no-store"})


def sign_in_page(
    request: HttpRequest,
    sessions: Sessions,
    sign_in: SignIn,
    following: str,
    *,
    status: int = 401,
    problem: SwellError | None = None,
    name: str = "",
) -> Response[str]:
    """How to sign in, to go on at the path *following* of this server; with a *problem* of the former try."""
    secret = _form_secret(request, sessions) or secrets.token_urlsafe(32)
    response = page(
        "sign_in.html",
        status=problem.status if problem else status,
        here=following,
        problem=problem,
        name=name[:64],
        form_token=csrf_token(secret),
        has_issuer=sign_in.is_possible,
    )
    response.set_cookie(sessions.cookie(sessions.own_name(FORM_COOKIE), secret, FORM_SECONDS))
    return response


def _form_secret(request: HttpRequest, sessions: Sessions) -> str | None:
    """The secret in the cookie of an earlier form; several forms of a browser share it."""
    secret = cookies_of(request.scope["headers"]).get(sessions.own_name(FORM_COOKIE), "")
    return secret if _SECRET.fullmatch(secret) else None
