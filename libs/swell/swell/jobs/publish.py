"""Publish messages to JetStream: when the call returns, the message is on disk, once for each id.

Source: NATS documentation, "Message deduplication",
https://docs.nats.io/using-nats/developer/develop_jetstream/model_deep_dive#message-deduplication
"""

import msgspec
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from swell.errors import Unavailable
from swell.jobs.messages import Job, Message
from swell.jobs.streams import JOBS
from swell.log import trace_headers


async def publish(stream: JetStreamContext, message: Message) -> None:
    """Publish *message* on its subject; the stream ignores another message with the same `id` within ten minutes.

    Raises:
        Unavailable: it is not stored, or not confirmed within 5 s; it may be published again.
    """
    headers = {"Nats-Msg-Id": f"{message.subject}:{message.id}", **trace_headers()}
    try:
        await stream.publish(message.address, msgspec.json.encode(message), timeout=5, headers=headers)
    except (NatsError, JetStreamError, TimeoutError) as error:
        raise Unavailable(f"the message queue does not answer: {error}") from error


async def is_queued(stream: JetStreamContext, kind: type[Job], job_id: str) -> bool:
    """Return whether the job *job_id* is queued or running.

    Raises:
        Unavailable: the queue does not answer.
    """
    try:
        await stream.get_last_msg(JOBS, f"{kind.subject}.{job_id}")
    except NotFoundError:
        return False
    except (NatsError, JetStreamError, TimeoutError) as error:
        raise Unavailable(f"the message queue does not answer: {error}") from error
    return True
