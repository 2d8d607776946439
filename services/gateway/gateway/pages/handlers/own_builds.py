"""`/view/builds`: the builds of a user who has signed in, or of any user for operators."""

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.access.accounts.accounts import Accounts
from gateway.adapters.oidc.sign_in import SignIn
from gateway.builds.of_user import BuildsOfUser
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers
from gateway.http.sessions import Sessions
from gateway.pages.handlers.passwords import sign_in_page
from gateway.pages.handlers.signed_in import signed_in
from gateway.pages.rendering import page
from swell.api.builds import BuildPage

PATH = "/view/builds"
LISTED = 25  # builds in a page


@get(PATH)
async def own_builds_page(
    request: HttpRequest,
    builds_of_user: NamedDependency[BuildsOfUser],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
    sign_in: NamedDependency[SignIn],
    sessions: NamedDependency[Sessions],
    user: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
    operator: FromQuery[bool] = False,
) -> Response[str]:
    """The builds, newest first. An operator names the user; without a session, how to sign in."""
    actor = await signed_in(request, callers, accounts, operator=operator)
    if actor is None:
        return sign_in_page(request, sessions, sign_in, PATH)
    is_chosen = actor.identity is not None or bool(user)
    listed = await builds_of_user.list(actor, user or None, cursor, LISTED) if is_chosen else BuildPage(builds=())
    return page(
        "own_builds.html",
        here=PATH,
        actor=actor,
        user=user,
        is_chosen=is_chosen,
        builds=listed.builds,
        next=listed.next,
    )
