"""Calls over plain NATS: the caller waits for the reply, and nothing is stored for a receiver that does not run.

A call contains its deadline, because the client library may send a message late, after it has reconnected; a receiver
ignores a call that is late.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import msgspec
from msgspec import Struct
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from swell.concurrency.tasks import TaskOwner
from swell.errors import Unavailable
from swell.failures import Failure
from swell.jobs.request_reply import Reply, encode_reply
from swell.jobs.streams import Nats
from swell.log import log, new_id, trace_headers, tracing

Q = TypeVar("Q", bound=Struct)
R = TypeVar("R")

AT_ONCE = 256
"""Calls that one process handles at once for a subject; more are refused."""


class NoReceiver(Unavailable):
    """No process of this server takes such calls at the moment."""


class NoReply(Unavailable):
    """Another process of this server did not answer in time."""


class _Call(Struct, frozen=True):
    deadline: float  # seconds since the epoch
    content: msgspec.Raw


async def call(nats: Nats, subject: str, message: Struct, kind: type[R], seconds: float) -> R:
    """Send *message* to one receiver of *subject*, and return its reply, of *kind*, within *seconds*.

    Raises:
        SwellError: the error that the receiver raised.
        NoReceiver: no process receives on *subject*.
        NoReply: there is no reply in time; the receiver may have done the work.
    """
    if not nats.client.is_connected:
        raise NoReceiver("the message queue does not answer")
    content = msgspec.json.encode(_Call(time.time() + seconds, msgspec.Raw(msgspec.json.encode(message))))
    try:
        answer = await nats.client.request(subject, content, timeout=seconds, headers=trace_headers() or None)
    except NoRespondersError as error:
        raise NoReceiver from error
    except (NatsError, TimeoutError) as error:
        raise NoReply from error
    reply = msgspec.json.decode(answer.data, type=Reply)
    if reply.failure:
        raise reply.failure.error
    return msgspec.json.decode(reply.found, type=kind)


@asynccontextmanager
async def receiving(
    nats: Nats, subject: str, kind: type[Q], handle: Callable[[Q], Awaitable[object]]
) -> AsyncIterator[None]:
    """Answer the calls on *subject* with the result, or the error, of *handle* while the block runs.

    Each call goes to one of the processes that receive on *subject*. At most `AT_ONCE` calls run at once.

    Raises:
        Unavailable: NATS does not answer.
    """
    running = TaskOwner()

    async def start(message: Msg) -> None:
        if len(running) >= AT_ONCE:
            await _reply(nats, message, Reply(failure=Failure.of(Unavailable("too many calls are running"))))
        else:
            running.start(_answer(nats, message, kind, handle))

    try:
        subscription = await nats.client.subscribe(subject, queue="swell", cb=start)
        await nats.client.flush(5)
    except (NatsError, TimeoutError) as error:
        raise Unavailable("the message queue does not answer") from error
    try:
        yield
    finally:
        with suppress(NatsError):
            await subscription.unsubscribe()
        await running.cancel()


async def _answer(nats: Nats, message: Msg, kind: type[Q], handle: Callable[[Q], Awaitable[object]]) -> None:
    headers = message.headers or {}
    with tracing(headers.get("x-request-id") or new_id(), headers.get("traceparent")):
        try:
            sent = msgspec.json.decode(message.data, type=_Call)
            if sent.deadline < time.time():
                log.info("call ignored, it is late", subject=message.subject)
                return
            content = await handle(msgspec.json.decode(sent.content, type=kind))
            reply = Reply(found=msgspec.Raw(msgspec.json.encode(content)))
        except Exception as error:  # noqa: BLE001 - every error is sent
            reply = Reply(failure=Failure.of(error))
        await _reply(nats, message, reply)


async def _reply(nats: Nats, message: Msg, reply: Reply) -> None:
    try:
        await nats.client.publish(message.reply, encode_reply(reply, nats.client.max_payload))
    except NatsError as error:
        log.warning("reply not sent", subject=message.subject, error=str(error))
