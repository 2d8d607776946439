"""Publishes the events of builds to the stream."""

from nats.js import JetStreamContext

from swell.jobs.messages import BuildDone
from swell.jobs.publish import publish


class StreamEvents:
    def __init__(self, stream: JetStreamContext) -> None:
        self._stream = stream

    async def publish(self, event: BuildDone) -> None:
        await publish(self._stream, event)
