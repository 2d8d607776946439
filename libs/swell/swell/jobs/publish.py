"""Saying something over NATS: stored on disk when the call returns, and only once for the same id."""

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
    """Publish *message* on its subject; saying the same `id` again within ten minutes changes nothing.

    Raises:
        Unavailable: it is not stored, or nobody said so within 5 s; it may be said again.
    """
    headers = {"Nats-Msg-Id": f"{message.subject}:{message.id}", **trace_headers()}
    try:
        await stream.publish(message.address, msgspec.json.encode(message), timeout=5, headers=headers)
    except (NatsError, JetStreamError, TimeoutError) as error:
        raise Unavailable(f"the message queue does not answer: {error}") from error


async def is_queued(stream: JetStreamContext, kind: type[Job], job_id: str) -> bool:
    """Whether the job *job_id* waits in the queue or is being done.

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
