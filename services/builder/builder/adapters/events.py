"""Telling everybody that a build has ended."""

from nats.js import JetStreamContext

from swell.jobs.messages import BuildDone
from swell.jobs.publish import publish


class StreamNews:
    def __init__(self, stream: JetStreamContext) -> None:
        self._stream = stream

    async def tell(self, event: BuildDone) -> None:
        await publish(self._stream, event)
