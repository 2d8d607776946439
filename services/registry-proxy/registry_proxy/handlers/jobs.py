"""The jobs that the registry-proxy takes: looking at images for somebody who waits."""

import asyncio

from registry_proxy.inspect import Inspector
from swell.api.inspect import Inspection
from swell.errors import UpstreamFailed
from swell.jobs.messages import InspectJob
from swell.jobs.request_reply import answer
from swell.jobs.streams import Nats
from swell.oci.platform import parse_platform
from swell.oci.reference import parse_reference

PATIENCE = 25  # seconds; less than the asker's, who so hears whose fault it is


class InspectJobs:
    def __init__(self, inspector: Inspector, nats: Nats) -> None:
        self._inspector = inspector
        self._nats = nats

    async def take(self, job: InspectJob, _attempt: int) -> None:
        async def inspect() -> Inspection:
            image = parse_reference(job.image)
            platform = parse_platform(job.platform) if job.platform else None
            try:
                async with asyncio.timeout(PATIENCE):
                    return await self._inspector.inspect(image, platform, job.principal)
            except TimeoutError as error:
                raise UpstreamFailed(f"{image.registry} does not answer in time") from error

        await answer(self._nats, job, inspect)
