"""Publish messages to JetStream: when the call returns, the message is on disk, once for each id.

Source: NATS documentation, "Message deduplication",
https://docs.nats.io/using-nats/developer/develop_jetstream/model_deep_dive#message-deduplication
"""

import asyncio

import msgspec
from nats.js import JetStreamContext
from nats.js.errors import NoStreamResponseError, NotFoundError

from swell.jobs.messages import Job, Message
from swell.jobs.streams import JOBS, create_missing, translated
from swell.log import trace_headers
from swell.observe.spans import Kind, span

TIMEOUT = 5.0  # seconds


async def publish(stream: JetStreamContext, message: Message) -> None:
    """Publish *message* on its subject; the stream ignores another message with the same `id` within ten minutes.

    Raises:
        Unavailable: it is not stored, or not confirmed within 5 s; it may be published again.
    """
    with span(f"publish {message.subject}", Kind.PRODUCER):
        headers = {"Nats-Msg-Id": f"{message.subject}:{message.id}", **trace_headers()}
        await store(stream, message.address, msgspec.json.encode(message), headers)


async def store(
    stream: JetStreamContext, subject: str, content: bytes, headers: dict[str, str], *, seconds: float = TIMEOUT
) -> None:
    """Store *content* in the stream of *subject*; if that is missing, it is created first.

    Raises:
        Unavailable: it is not stored, or not confirmed within *seconds*.
    """
    with translated():
        try:
            await stream.publish(subject, content, timeout=seconds, headers=headers)
        except (NoStreamResponseError, TimeoutError):
            if await _has_stream(stream, subject):
                raise
            await create_missing(stream)
            await stream.publish(subject, content, timeout=seconds, headers=headers)


async def _has_stream(stream: JetStreamContext, subject: str) -> bool:
    """Return whether *subject* has a stream. Without one, a message that has plain subscribers is never confirmed."""
    try:
        async with asyncio.timeout(1):
            await stream.find_stream_name_by_subject(subject)
    except NotFoundError:
        return False
    return True


async def is_queued(stream: JetStreamContext, kind: type[Job], job_id: str) -> bool:
    """Return whether the job *job_id* is queued or running.

    Raises:
        Unavailable: the queue does not answer.
    """
    with translated():
        try:
            await stream.get_last_msg(JOBS, f"{kind.subject}.{job_id}")
        except NotFoundError:
            return False
    return True
