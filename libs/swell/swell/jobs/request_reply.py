"""Questions: jobs that somebody waits for. The answer goes to the asker's own inbox; it is lost when they have gone."""

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
from swell.jobs.streams import Nats
from swell.log import log

A = TypeVar("A")


class _Answer(Struct, frozen=True, omit_defaults=True):
    """The JSON of what was found, or why nothing was."""

    found: msgspec.Raw = msgspec.Raw(b"null")
    failure: Failure | None = None


async def ask(nats: Nats, question: RequestJob, kind: type[A]) -> A:
    """Put *question* into the queue and wait for its answer, of *kind*, until its deadline.

    Raises:
        SwellError: as whoever was asked raised it.
        Unavailable: no answer in time, or the queue does not take the question.
    """
    try:
        inbox = await nats.client.subscribe(question.reply)
        try:
            await publish(nats.stream, question)
            message = await inbox.next_msg(timeout=_seconds_left(question))
        finally:
            with suppress(NatsError):
                await inbox.unsubscribe()
    except (NatsError, TimeoutError) as error:
        raise Unavailable("there is no answer yet; it takes too long", retry_after=10) from error
    answer = msgspec.json.decode(message.data, type=_Answer)
    if answer.failure:
        raise answer.failure.error
    return msgspec.json.decode(answer.found, type=kind)


async def answer(nats: Nats, question: RequestJob, work: Callable[[], Awaitable[object]]) -> None:
    """Do *work* and tell the asker what it gives or raises; nothing at all when the deadline has passed.

    Raises:
        Unavailable: the answer cannot be sent just now.
    """
    left = _seconds_left(question)
    if left <= 0:
        log.info("question dropped", subject=question.subject, id=question.id, late=round(-left, 3))
        return
    try:
        async with asyncio.timeout(left):
            told = _Answer(found=msgspec.Raw(msgspec.json.encode(await work())))
    except TimeoutError:
        log.warning("question not answered in time", subject=question.subject, id=question.id, seconds=round(left, 3))
        return
    except Exception as error:  # noqa: BLE001 - the asker is told, whatever it is
        told = _Answer(failure=Failure.of(error))
    try:
        await nats.client.publish(question.reply, _fitting(told, nats.client.max_payload))
    except NatsError as error:
        raise Unavailable(f"the message queue does not answer: {error}") from error


def _fitting(told: _Answer, limit: int) -> bytes:
    """*told* as JSON of at most *limit* bytes."""
    content = msgspec.json.encode(told)
    if len(content) > limit:
        error = TooLarge(f"the answer has {len(content)} bytes, more than the {limit} that can be told")
        return msgspec.json.encode(_Answer(failure=Failure.of(error)))
    return content


def _seconds_left(question: RequestJob) -> float:
    return (question.deadline - datetime.now(UTC)).total_seconds()
