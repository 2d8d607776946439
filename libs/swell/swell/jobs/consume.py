"""Taking messages one by one: `consume` alone knows ack, nak, term and heartbeats.

A message is acknowledged when its handler returns. While the handler works a heartbeat keeps the message ours; when the
process dies the heartbeat stops and another worker is given the message after `lease`.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

import msgspec
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import Error as JetStreamError

from swell.errors import Unavailable
from swell.jobs.messages import Message
from swell.jobs.streams import Nats
from swell.log import log, tracing

M = TypeVar("M", bound=Message)
Handler = Callable[[M, int], Awaitable[None]]

LEASE = timedelta(seconds=30)


async def consume(
    stream: JetStreamContext,
    durable: str,
    kind: type[M],
    handle: Handler[M],
    *,
    slots: int = 1,
    lease: timedelta = LEASE,
    drain: timedelta = timedelta(0),
) -> None:
    """Give every message of *kind* to *handle*, with the number of the attempt (from 1), *slots* at a time, for ever.

    *durable* names the group that shares the work. A handler that raises `Unavailable`, or anything that nobody
    foresaw, is given the message again later; a message that cannot be read is dropped with an error in the log.
    When cancelled, the handlers under way have *drain* to finish; then they are cancelled, and their messages are free
    for others at once.
    """
    source = await _subscribe(stream, durable, kind, lease)
    free = asyncio.Semaphore(slots)
    working: set[asyncio.Task[None]] = set()
    try:
        while True:
            await free.acquire()
            message = await _next(source)
            if message is None:
                free.release()
                continue
            task = asyncio.create_task(_handle(message, kind, handle, lease))
            working.add(task)
            task.add_done_callback(working.discard)
            task.add_done_callback(lambda _: free.release())
    finally:
        await _finish(working, drain)
        with suppress(NatsError):
            await source.unsubscribe()


async def hear(nats: Nats, kind: type[M], handle: Callable[[M], None]) -> None:
    """Tell *handle* every message of *kind* that is said from now on, while the connection holds; nothing is kept.

    What JetStream stores, plain subscribers hear as well.
    """

    async def heard(message: Msg) -> None:
        try:
            handle(msgspec.json.decode(message.data, type=kind))
        except msgspec.DecodeError as error:
            log.error("unreadable message ignored", subject=message.subject, error=str(error))

    await nats.client.subscribe(kind.subject, cb=heard)


async def _subscribe(
    stream: JetStreamContext, durable: str, kind: type[Message], lease: timedelta
) -> JetStreamContext.PullSubscription:
    name = await stream.find_stream_name_by_subject(kind.subject)
    config = ConsumerConfig(
        durable_name=durable,
        filter_subject=kind.subject,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=lease.total_seconds(),
        max_deliver=-1,
        max_ack_pending=1000,
    )
    await stream.add_consumer(name, config)
    return await stream.pull_subscribe_bind(durable, name)


async def _next(source: JetStreamContext.PullSubscription) -> Msg | None:
    try:
        return (await source.fetch(1, timeout=5))[0]
    except TimeoutError:
        return None
    except (NatsError, JetStreamError) as error:
        log.warning("no messages for now", error=repr(error))
        await asyncio.sleep(0.5)
        return None


async def _handle(message: Msg, kind: type[M], handle: Handler[M], lease: timedelta) -> None:
    headers = message.headers or {}
    with tracing(headers.get("x-request-id") or uuid.uuid4().hex, headers.get("traceparent")):
        try:
            content = msgspec.json.decode(message.data, type=kind)
        except msgspec.DecodeError as error:
            log.error("unreadable message dropped", subject=message.subject, error=str(error))
            await message.term()
            return
        heart = asyncio.create_task(_beat(message, lease))
        try:
            await handle(content, message.metadata.num_delivered)
            await message.ack()
        except Unavailable as error:
            log.warning("message put back", subject=message.subject, id=content.id, error=str(error))
            await message.nak(delay=2)
        except asyncio.CancelledError:
            await message.nak()
            raise
        except Exception:  # noqa: BLE001  an edge: whatever it was, the message is not lost
            log.exception("message put back", subject=message.subject, id=content.id)
            await message.nak(delay=10)
        finally:
            heart.cancel()


async def _beat(message: Msg, lease: timedelta) -> None:
    while True:
        await asyncio.sleep(lease.total_seconds() / 3)
        try:
            await message.in_progress()
        except NatsError as error:
            log.warning("heartbeat not sent", error=repr(error))


async def _finish(working: set["asyncio.Task[None]"], drain: timedelta) -> None:
    if working and drain:
        await asyncio.wait(working, timeout=drain.total_seconds())
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
