"""`/auth`: sign in with a browser at an OpenID Connect issuer, and sign out."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Redirect

from gateway.adapters.oidc.sign_in import SIGN_IN_SECONDS, SignIn
from gateway.http.bodies import HttpRequest
from gateway.http.sessions import Sessions, check_csrf, cookies_of
from gateway.pages.forms import read_form
from swell.errors import SignInFailed
from swell.log import log

SIGN_IN_COOKIE = "swell_sign_in"
_NOT_STORED = {"Cache-Control": "no-store"}


@get("/auth/login")
async def login(
    sign_in: NamedDependency[SignIn],
    sessions: NamedDependency[Sessions],
    next: FromQuery[str | None] = None,  # noqa: A002
) -> Redirect:
    """Send the browser to the issuer; it comes back to `/auth/callback`, and then goes to the path *next*."""
    started = await sign_in.start(next or "/")
    cookie = sessions.cookie(sessions.own_name(SIGN_IN_COOKIE), started.cookie, SIGN_IN_SECONDS)
    return Redirect(started.url, status_code=302, cookies=[cookie], headers=_NOT_STORED)


@get("/auth/callback")
async def callback(
    request: HttpRequest, sign_in: NamedDependency[SignIn], sessions: NamedDependency[Sessions]
) -> Redirect:
    """Complete the sign-in: start a session, and go to the path that `/auth/login` got."""
    name = sessions.own_name(SIGN_IN_COOKIE)
    begun = cookies_of(request.scope["headers"]).get(name, "")
    try:
        identity, following = await sign_in.finish(begun, dict(request.query_params.items()))
    except SignInFailed:
        sessions.refusals.record("browser")
        raise
    cookie = await sessions.start(identity, former=sessions.secret_of(request.scope))
    log.info("signed in", user=identity.user)
    used = sessions.cookie(name, "", 0)
    return Redirect(following, status_code=303, cookies=[cookie, used], headers=_NOT_STORED)


@post("/auth/logout", request_max_body_size=None)  # `read_form` limits the size
async def logout(request: HttpRequest, sessions: NamedDependency[Sessions]) -> Redirect:
    """End the session of the browser; the form has its CSRF token."""
    await read_form(request)
    if (secret := sessions.secret_of(request.scope)) is None:
        return Redirect("/", status_code=303)
    check_csrf(request.scope, secret)
    return Redirect("/", status_code=303, cookies=[await sessions.end(secret)], headers=_NOT_STORED)
