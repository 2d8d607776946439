"""Requests over the job queue: a job whose sender waits for the reply in its own inbox.

The reply is a plain message; it is lost when the sender has disconnected.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from msgspec import Struct
from nats.errors import Error as NatsError

from swell.errors import TooLarge, Unavailable
from swell.failures import Failure
from swell.jobs.messages import RequestJob
from swell.jobs.publish import publish
from swell.jobs.streams import Nats, translated
from swell.log import log

R = TypeVar("R")


class Reply(Struct, frozen=True, omit_defaults=True):
    """The JSON of the result, or the error."""

    found: msgspec.Raw = msgspec.Raw(b"null")
    failure: Failure | None = None


async def request(nats: Nats, job: RequestJob, kind: type[R]) -> R:
    """Publish *job* and return its reply, of *kind*, before its deadline.

    Raises:
        SwellError: the error that the worker raised.
        Unavailable: there is no reply in time, or the queue does not accept the job.
    """
    try:
        inbox = await nats.client.subscribe(job.reply)
        try:
            await publish(nats.stream, job)
            message = await inbox.next_msg(timeout=_seconds_left(job))
        finally:
            with suppress(NatsError):
                await inbox.unsubscribe()
    except (NatsError, TimeoutError) as error:
        raise Unavailable("there is no answer yet; it takes too long", retry_after=10) from error
    reply = msgspec.json.decode(message.data, type=Reply)
    if reply.failure:
        raise reply.failure.error
    return msgspec.json.decode(reply.found, type=kind)


async def respond(nats: Nats, job: RequestJob, work: Callable[[], Awaitable[object]]) -> None:
    """Run *work* and send its result or error to the sender; do nothing when the deadline has passed.

    Raises:
        Unavailable: the reply cannot be sent.
    """
    left = _seconds_left(job)
    if left <= 0:
        log.info("request dropped", subject=job.subject, id=job.id, late=round(-left, 3))
        return
    try:
        async with asyncio.timeout(left):
            reply = Reply(found=msgspec.Raw(msgspec.json.encode(await work())))
    except TimeoutError:
        log.warning("request not answered in time", subject=job.subject, id=job.id, seconds=round(left, 3))
        return
    except Exception as error:  # noqa: BLE001 - every error is sent
        reply = Reply(failure=Failure.of(error))
    with translated():
        await nats.client.publish(job.reply, encode_reply(reply, nats.client.max_payload))


def encode_reply(reply: Reply, limit: int) -> bytes:
    """Return *reply* as JSON of at most *limit* bytes; a longer one becomes `TooLarge`."""
    content = msgspec.json.encode(reply)
    if len(content) > limit:
        error = TooLarge(f"the answer has {len(content)} bytes, more than the limit of {limit}")
        return msgspec.json.encode(Reply(failure=Failure.of(error)))
    return content


def _seconds_left(job: RequestJob) -> float:
    return (job.deadline - datetime.now(UTC)).total_seconds()
