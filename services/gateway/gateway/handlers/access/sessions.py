"""`/auth/session`: the user who has signed in with a browser, and the end of all sessions of a user."""

from litestar import Response, delete, get
from litestar.di import NamedDependency
from litestar.params import FromQuery
from msgspec import Struct

from gateway.access.keys import Actor
from gateway.domain.access.identity import Scope
from gateway.http.bodies import HttpRequest
from gateway.http.sessions import Sessions, csrf_token
from swell.errors import Unauthorized

_NOT_STORED = {"Cache-Control": "no-store"}


class SessionAnswer(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The user of a browser's session. State-changing requests of the session have `csrfToken` in `X-CSRF-Token`."""

    user: str
    csrf_token: str
    expires: str
    email: str = ""
    organisation: str = ""
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


class EndedSessions(Struct, frozen=True):
    """How many sessions have ended."""

    ended: int


@get("/auth/session")
async def session(request: HttpRequest, sessions: NamedDependency[Sessions]) -> Response[SessionAnswer]:
    """The user of the browser's session, and its CSRF token."""
    secret = sessions.secret_of(request.scope)
    current = await sessions.get(secret) if secret else None
    if secret is None or current is None:
        raise Unauthorized("this browser is not signed in")
    identity = current.identity
    answer = SessionAnswer(
        user=identity.user,
        csrf_token=csrf_token(secret),
        expires=current.expires.isoformat(),
        email=identity.email,
        organisation=identity.organisation,
        groups=identity.groups,
        scopes=tuple(sorted(identity.scopes)),
    )
    return Response(answer, headers=_NOT_STORED)


@delete("/auth/sessions", status_code=200)
async def end_sessions(
    sessions: NamedDependency[Sessions],
    actor: NamedDependency[Actor],
    user: FromQuery[str | None] = None,
) -> EndedSessions:
    """End all sessions of the sender; an operator may name another *user*."""
    if user is not None and user != actor.name and actor.identity is not None:
        actor.identity.require(Scope.ADMINISTER)
    return EndedSessions(await sessions.end_all(user or actor.name, actor.name))
