"""Saying something over NATS: stored on disk when the call returns, and only once for the same id."""

import msgspec
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError

from swell.errors import Unavailable
from swell.jobs.messages import Message
from swell.log import trace_headers


async def publish(stream: JetStreamContext, message: Message) -> None:
    """Publish *message* on its subject; saying the same `id` again within ten minutes changes nothing.

    Raises:
        Unavailable: it is not stored, or nobody said so within 5 s; it may be said again.
    """
    headers = {"Nats-Msg-Id": f"{message.subject}:{message.id}", **trace_headers()}
    try:
        await stream.publish(message.subject, msgspec.json.encode(message), timeout=5, headers=headers)
    except (NatsError, JetStreamError, TimeoutError) as error:
        raise Unavailable(f"the message queue does not answer: {error}") from error
