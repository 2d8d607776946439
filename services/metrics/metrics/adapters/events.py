"""Read the event stream from its beginning."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DeliverPolicy
from nats.js.errors import Error as JetStreamError

from metrics.count import of_build, of_pulls, of_scan
from metrics.domain.usage import Use
from swell.errors import Unavailable
from swell.jobs.messages import BuildDone, ImagesPulled, ScanDone
from swell.jobs.streams import EVENTS, created, translated


async def last_uncertain_day(stream: JetStreamContext) -> str:
    """Return the last day (UTC) of which the stream may lack events, because they have expired or it was lost.

    That is the day on which the stream was created, or the day of its oldest event if older ones have expired.

    Raises:
        Unavailable: the queue does not answer.
    """
    at = await created(stream, EVENTS)
    with translated():
        state = (await stream.stream_info(EVENTS)).state
        if state.first_seq > 1 and state.messages:
            at = (await stream.get_msg(EVENTS, seq=state.first_seq)).time
    return (at or datetime.now(UTC)).astimezone(UTC).date().isoformat()


async def uses(stream: JetStreamContext) -> AsyncIterator[Use]:
    """Yield the uses of the events in the stream, oldest first; other and unreadable events are ignored.

    Raises:
        Unavailable: the stream does not deliver the next event within 5 s.
    """
    try:
        if not (await stream.stream_info(EVENTS)).state.messages:
            return
        source = await stream.subscribe("", stream=EVENTS, ordered_consumer=True, deliver_policy=DeliverPolicy.ALL)
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
            case ScanDone.subject:
                return of_scan(msgspec.json.decode(content, type=ScanDone))
    except msgspec.DecodeError:
        pass
    return None
