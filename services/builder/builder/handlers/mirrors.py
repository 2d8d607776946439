"""Requests for plans of mirrors, whose results go back to the waiting gateway."""

from builder.mirror import Mirroring
from swell.api.mirrors import MirrorPlan
from swell.jobs.messages import MirrorPlanJob
from swell.jobs.request_reply import respond
from swell.jobs.streams import Nats


class MirrorPlans:
    """Handles `MirrorPlanJob` messages."""

    def __init__(self, mirroring: Mirroring, nats: Nats) -> None:
        self._mirroring = mirroring
        self._nats = nats

    async def handle(self, job: MirrorPlanJob, _attempt: int) -> None:
        async def plan() -> MirrorPlan:
            return await self._mirroring.plan(job.images, job.principal, job.push_principal)

        await respond(self._nats, job, plan)
