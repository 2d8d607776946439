"""The queue of build jobs in NATS JetStream."""

from datetime import datetime

from swell.jobs.messages import BuildJob, IndexJob, MirrorJob
from swell.jobs.publish import is_queued, publish
from swell.jobs.streams import JOBS, Nats, created
from swell.store.records import MIRROR_PREFIX


class JobQueue:
    def __init__(self, nats: Nats) -> None:
        self._nats = nats
        self._created: datetime | None = None

    async def put(self, job: BuildJob | IndexJob | MirrorJob) -> None:
        await publish(self._nats.stream, job)

    async def has(self, build_id: str) -> bool:
        stream = self._nats.stream
        if build_id.startswith(MIRROR_PREFIX):
            return await is_queued(stream, MirrorJob, build_id)
        return await is_queued(stream, BuildJob, build_id) or await is_queued(stream, IndexJob, build_id)

    async def was_lost(self) -> bool:
        """Whether the stream of jobs is another one than at the last call: its server has lost its data.

        A missing stream is created.
        """
        before, self._created = self._created, await created(self._nats.stream, JOBS)
        return before not in {None, self._created}
