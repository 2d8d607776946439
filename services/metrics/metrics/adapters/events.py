"""Read the event stream from its beginning."""

from collections.abc import AsyncIterator

import msgspec
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DeliverPolicy
from nats.js.errors import Error as JetStreamError

from metrics.count import of_build, of_pulls
from metrics.domain.usage import Use
from swell.errors import Unavailable
from swell.jobs.messages import BuildDone, ImagesPulled


async def has_expired_events(stream: JetStreamContext) -> bool:
    """Return whether events have expired from the stream.

    Raises:
        Unavailable: the queue does not answer.
    """
    try:
        name = await stream.find_stream_name_by_subject(BuildDone.subject)
        return (await stream.stream_info(name)).state.first_seq > 1
    except (NatsError, JetStreamError, TimeoutError) as error:
        raise Unavailable(f"the message queue does not answer: {error}") from error


async def uses(stream: JetStreamContext) -> AsyncIterator[Use]:
    """Yield the uses of the events in the stream, oldest first; other and unreadable events are ignored.

    Raises:
        Unavailable: the stream does not deliver the next event within 5 s.
    """
    try:
        name = await stream.find_stream_name_by_subject(BuildDone.subject)
        if not (await stream.stream_info(name)).state.messages:
            return
        source = await stream.subscribe("", stream=name, ordered_consumer=True, deliver_policy=DeliverPolicy.ALL)
        more = True
        while more:
            message = await source.next_msg(timeout=5)
            more = message.metadata.num_pending > 0
            if use := _read(message.subject, message.data):
                yield use
        await source.unsubscribe()
    except (NatsError, JetStreamError, TimeoutError) as error:
        raise Unavailable(f"the message queue does not answer: {error}") from error


def _read(subject: str, content: bytes) -> Use | None:
    try:
        match subject:
            case BuildDone.subject:
                return of_build(msgspec.json.decode(content, type=BuildDone))
            case ImagesPulled.subject:
                return of_pulls(msgspec.json.decode(content, type=ImagesPulled))
    except msgspec.DecodeError:
        pass
    return None
