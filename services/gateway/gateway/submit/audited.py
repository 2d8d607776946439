"""Record grants, builds and mirrors in the audit trail."""

from typing import Protocol

from gateway.audit.events import Action, Audit, fingerprint
from gateway.domain.grant import Grant
from swell.api.containers import ContainerRecord


class Grants(Protocol):
    async def put(self, grant: Grant, record: ContainerRecord) -> None: ...


class AuditedGrants:
    """Grants that are recorded after they have been stored; a dry run is not."""

    def __init__(self, grants: Grants, audit: Audit) -> None:
        self._grants = grants
        self._audit = audit

    async def put(self, grant: Grant, record: ContainerRecord) -> None:
        await self._grants.put(grant, record)
        if grant.is_dry:
            return
        whose = {"user": grant.user, "organisation": grant.organisation, "image": grant.image}
        self._audit.record(Action.GRANTED, subject=fingerprint(grant.token), **whose)
        if record.build_new and grant.build_id:
            action = Action.MIRROR_REQUESTED if record.mirror else Action.BUILD_REQUESTED
            self._audit.record(action, subject=grant.build_id, **whose)
