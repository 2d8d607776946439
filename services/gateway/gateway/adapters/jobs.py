"""The queue of build jobs in NATS JetStream."""

from swell.jobs.messages import BuildJob, IndexJob
from swell.jobs.publish import is_queued, publish
from swell.jobs.streams import Nats


class JobQueue:
    def __init__(self, nats: Nats) -> None:
        self._nats = nats

    async def put(self, job: BuildJob | IndexJob) -> None:
        await publish(self._nats.stream, job)

    async def has(self, build_id: str) -> bool:
        stream = self._nats.stream
        return await is_queued(stream, BuildJob, build_id) or await is_queued(stream, IndexJob, build_id)
