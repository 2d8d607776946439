"""The builds that a user has requested."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from gateway.access.keys import Actor
from gateway.builds.queries import DEFAULT_PAGE, MAX_PAGE, parse_cursor, record_of
from gateway.domain.access.identity import Scope
from swell.api.builds import BuildPage
from swell.errors import BadRequest, ScopeRequired
from swell.store.builds import Builds


class UsersBuilds(Protocol):
    async def page(self, user: str, before: int | None, limit: int) -> tuple[Sequence[str], int | None]:
        """At most *limit* ids of builds, newest first, and the cursor of the next page; raises `Unavailable`."""


class BuildsOfUser:
    def __init__(self, users_builds: UsersBuilds, builds: Builds) -> None:
        self._users_builds = users_builds
        self._builds = builds

    async def list(self, actor: Actor, user: str | None, cursor: str | None, limit: int | None) -> BuildPage:
        """The builds that requests of *user* have started or waited for, newest first; by default those of *actor*.

        At most *limit* (1 to 100, default 20), after *cursor*. Builds whose record has expired are left out.

        Raises:
            BadRequest: a parameter is malformed.
            ScopeRequired: *actor* is no operator and names another user, or may not build.
        """
        size = DEFAULT_PAGE if limit is None else limit
        if not 1 <= size <= MAX_PAGE:
            raise BadRequest(f"limit can be 1 to {MAX_PAGE}")
        whose = user_of(actor, user)
        build_ids, following = await self._users_builds.page(whose, parse_cursor(cursor), size)
        found = await asyncio.gather(*map(self._builds.get, build_ids))
        return BuildPage(
            builds=tuple(record_of(build) for build in found if build), next=str(following) if following else None
        )


def user_of(actor: Actor, user: str | None) -> str:
    """The user whose builds *actor* lists."""
    if user and user != actor.name and not actor.is_operator:
        raise ScopeRequired("the builds of other users are listed by operators")
    if actor.identity and not actor.is_operator:
        actor.identity.require(Scope.BUILD)
    return user or actor.name
