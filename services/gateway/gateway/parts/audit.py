"""The audit trail of this gateway, opened: its streams, the log of events, and a writer of the chain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.adapters.audit.head import AuditHead
from gateway.adapters.audit.pseudonyms import Pseudonyms
from gateway.adapters.audit.trail import AuditLog, AuditWriter, open_streams
from gateway.audit.events import NO_AUDIT, Audit
from gateway.connections import Connections
from gateway.settings import Settings


@asynccontextmanager
async def open_audit(settings: Settings, connections: Connections) -> AsyncIterator[Audit]:
    """Yield the audit trail; at the end of the block, events that wait are stored.

    Raises:
        Unavailable: NATS does not answer.
    """
    if not settings.audit_age:
        yield NO_AUDIT
        return
    await open_streams(connections.nats, settings.audit_age)
    audit = AuditLog(connections.nats)
    redis = connections.redis
    writer = AuditWriter(connections.nats, Pseudonyms(redis), settings.audit_age, AuditHead(redis))
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(audit.run()), tasks.create_task(writer.run())]
        try:
            yield audit
        finally:
            for task in running:
                task.cancel()
