"""Inspection jobs from NATS, whose results go back to the waiting gateway."""

import asyncio
from datetime import UTC, datetime

from registry_proxy.inspect import Inspector
from swell.api.inspect import Inspection
from swell.concurrency.deadline import SHARE, within
from swell.errors import UpstreamSlow
from swell.jobs.messages import InspectJob
from swell.jobs.request_reply import respond
from swell.jobs.streams import Nats
from swell.oci.platform import parse_platform
from swell.oci.reference import parse_reference


class InspectJobs:
    """Handles `InspectJob` messages."""

    def __init__(self, inspector: Inspector, nats: Nats) -> None:
        self._inspector = inspector
        self._nats = nats

    async def handle(self, job: InspectJob, _attempt: int) -> None:
        async def inspect() -> Inspection:
            image = parse_reference(job.image)
            platform = parse_platform(job.platform) if job.platform else None
            seconds = (job.deadline - datetime.now(UTC)).total_seconds()
            try:
                async with asyncio.timeout(seconds * (1 + SHARE) / 2):
                    with within(seconds * SHARE):
                        return await self._inspector.inspect(image, platform, job.principal, referrers=job.referrers)
            except TimeoutError as error:
                raise UpstreamSlow(f"{image.registry} does not answer in time") from error

        await respond(self._nats, job, inspect)
