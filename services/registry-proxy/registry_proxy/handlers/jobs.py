"""Inspection jobs from NATS, whose results go back to the waiting gateway."""

import asyncio

from registry_proxy.inspect import Inspector
from swell.api.inspect import Inspection
from swell.errors import UpstreamFailed
from swell.jobs.messages import InspectJob
from swell.jobs.request_reply import respond
from swell.jobs.streams import Nats
from swell.oci.platform import parse_platform
from swell.oci.reference import parse_reference

TIMEOUT = 25  # seconds; shorter than the caller's timeout, so that the error names the registry


class InspectJobs:
    """Handles `InspectJob` messages."""

    def __init__(self, inspector: Inspector, nats: Nats) -> None:
        self._inspector = inspector
        self._nats = nats

    async def handle(self, job: InspectJob, _attempt: int) -> None:
        async def inspect() -> Inspection:
            image = parse_reference(job.image)
            platform = parse_platform(job.platform) if job.platform else None
            try:
                async with asyncio.timeout(TIMEOUT):
                    return await self._inspector.inspect(image, platform, job.principal)
            except TimeoutError as error:
                raise UpstreamFailed(f"{image.registry} did not respond in time") from error

        await respond(self._nats, job, inspect)
