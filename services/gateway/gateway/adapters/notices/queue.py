"""The queue of notices in JetStream."""

from gateway.notices.messages import EmailNotice, WebhookNotice
from swell.jobs.publish import publish
from swell.jobs.streams import Nats


class NoticeQueue:
    def __init__(self, nats: Nats) -> None:
        self._nats = nats

    async def put(self, notice: WebhookNotice | EmailNotice) -> None:
        """Store *notice*; the stream ignores another one with its id within ten minutes.

        Raises:
            Unavailable: it is not stored.
        """
        await publish(self._nats.stream, notice)
