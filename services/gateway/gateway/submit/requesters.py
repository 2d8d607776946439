"""Store who has requested a container, for read authorisation."""

from typing import Protocol

from gateway.domain.grant import Grant
from swell.api.containers import ContainerRecord


class Grants(Protocol):
    async def put(self, grant: Grant, record: ContainerRecord) -> None: ...


class Requesters(Protocol):
    async def record(self, user: str, organisation: str, *record_ids: str | None, build_id: str | None = None) -> None:
        """Store that *user* has requested these records."""


class GrantsWithRequesters:
    """Grants that also store who may read the records of their requests."""

    def __init__(self, grants: Grants, requesters: Requesters) -> None:
        self._grants = grants
        self._requesters = requesters

    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        """Store the requester first: a record without one can be read by operators only."""
        build_id = None if grant.is_dry else grant.build_id
        await self._requesters.record(grant.user, grant.organisation, grant.token, grant.scan_id, build_id=build_id)
        await self._grants.put(grant, record)
