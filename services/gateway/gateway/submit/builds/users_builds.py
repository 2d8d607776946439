"""Store which builds the requests of a user have started or waited for."""

from typing import Protocol

from gateway.domain.grant import Grant
from swell.api.containers import ContainerRecord


class Grants(Protocol):
    async def put(self, grant: Grant, record: ContainerRecord) -> None: ...


class UsersBuilds(Protocol):
    async def add(self, user: str, build_id: str) -> None:
        """Store that *user* has requested a build; raises `Unavailable`."""


class GrantsWithUsersBuilds:
    """Grants that also store the new builds of users. Images that exist, dry runs and mirrors are not stored."""

    def __init__(self, grants: Grants, users_builds: UsersBuilds) -> None:
        self._grants = grants
        self._users_builds = users_builds

    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        if grant.user and grant.build_id and record.build_new and not (grant.is_dry or record.mirror):
            await self._users_builds.add(grant.user, grant.build_id)
        await self._grants.put(grant, record)
