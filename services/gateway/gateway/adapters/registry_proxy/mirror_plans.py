"""Plans of mirrors, which a builder makes: it has the credentials of both registries."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from swell.api.mirrors import MirrorPlan
from swell.errors import Unavailable
from swell.jobs.messages import MirrorPlanJob
from swell.jobs.request_reply import request
from swell.jobs.streams import Nats
from swell.registry.credentials.principal import Principal
from swell.store.records import MirrorImage

TIMEOUT = timedelta(seconds=60)
MAX_PENDING = 16


class QueuedPlans:
    def __init__(self, nats: Nats) -> None:
        self._nats = nats
        self._slots = asyncio.Semaphore(MAX_PENDING)

    async def plan(self, images: Sequence[MirrorImage], principal: Principal, push_principal: Principal) -> MirrorPlan:
        """Return what the copies of *images* would send, within 60 s.

        Raises:
            BadRequest, UpstreamFailed: an image cannot be read, or a registry does not answer.
            Unavailable: no response in time, or 16 plans are pending.
        """
        if self._slots.locked():
            raise Unavailable("too many mirrors are being planned", retry_after=5)
        async with self._slots:
            job = MirrorPlanJob(
                id=uuid.uuid4().hex,
                images=tuple(images),
                principal=principal,
                push_principal=push_principal,
                reply=self._nats.client.new_inbox(),
                deadline=datetime.now(UTC) + TIMEOUT,
            )
            return await request(self._nats, job, MirrorPlan)
