"""The running workers: list them, and drain one, so that it takes no more jobs."""

import re
from collections.abc import Sequence
from typing import Protocol

from gateway.audit.events import NO_AUDIT, Action, Audit
from gateway.operate.pages import page_of
from swell.api.operator import Worker, WorkerPage
from swell.errors import BadRequest, NotFound
from swell.log import log

BUILDER = "builder"
_ID = re.compile(r"[A-Za-z0-9._-]{1,300}")


class Stored(Protocol):
    """Raises `Unavailable` when the store does not answer."""

    async def all(self) -> Sequence[Worker]:
        """Return the running workers by id, at most 1,000."""

    async def get(self, worker_id: str) -> Worker | None: ...

    async def set_drained(self, worker_id: str, *, drained: bool) -> None: ...


class WorkerOperations:
    def __init__(self, stored: Stored, audit: Audit = NO_AUDIT) -> None:
        self._audit = audit
        self._stored = stored

    async def page(self, service: str | None, cursor: str | None, limit: int | None) -> WorkerPage:
        """The running workers, or those of *service*, by id; raises `BadRequest` for wrong parameters."""
        workers = [each for each in await self._stored.all() if service in {None, each.service}]
        page, following = page_of(workers, lambda worker: worker.id, cursor, limit)
        return WorkerPage(workers=page, next=following)

    async def get(self, worker_id: str) -> Worker:
        """The worker *worker_id*.

        Raises:
            NotFound: no such worker has reported in the last minute.
        """
        worker = await self._stored.get(worker_id) if _ID.fullmatch(worker_id) else None
        if worker is None:
            raise NotFound(f"no worker {worker_id[:80]} is running")
        return worker

    async def set_drained(self, worker_id: str, operator: str, *, drained: bool) -> Worker:
        """Drain the builder *worker_id*, or end that; within 10 s it takes no more jobs, or takes them again.

        Its running builds end. The state survives a restart of the builder.

        Raises:
            BadRequest: the worker is no builder.
            NotFound: it is not running.
        """
        worker = await self.get(worker_id)
        if worker.service != BUILDER:
            raise BadRequest(f"{worker_id} is a {worker.service}: only builders can be drained")
        await self._stored.set_drained(worker_id, drained=drained)
        action = Action.WORKER_DRAINED if drained else Action.WORKER_RESUMED
        self._audit.record(action, actor=operator, subject=worker_id)
        log.info("builder drained" if drained else "builder resumed", worker=worker_id, by=operator)
        return await self.get(worker_id)
