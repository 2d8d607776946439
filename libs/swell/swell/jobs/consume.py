"""Taking messages one by one: `consume` alone knows ack, nak, term and heartbeats.

A message is acknowledged when its handler returns. While the handler works a heartbeat keeps the message ours; when the
process dies the heartbeat stops and another worker gets the message after `lease`. A message that no worker can
handle moves to the dead-letter stream, from which the operator may replay it (`swell.jobs.dead_letters`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

import msgspec
from msgspec import Struct
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import Error as JetStreamError

from swell.errors import Unavailable
from swell.jobs.dead_letters import dead_letter
from swell.jobs.messages import Message
from swell.jobs.streams import Nats
from swell.log import log, new_id, tracing

M = TypeVar("M", bound=Message)
Handler = Callable[[M, int], Awaitable[None]]

LEASE = timedelta(seconds=30)
BROKEN = 5  # deliveries after which a message that makes the handler raise what nobody foresaw is buried
FATAL = 200  # deliveries after which one is buried that nobody ever answered for: it may kill whoever takes it
SLOWEST = 15  # seconds at most between two deliveries of a message that must wait for something

GiveUp = Callable[[str, str], Awaitable[None]]


async def consume(
    stream: JetStreamContext,
    durable: str,
    kind: type[M],
    handle: Handler[M],
    *,
    slots: int = 1,
    lease: timedelta = LEASE,
    drain: timedelta = timedelta(0),
    give_up: GiveUp | None = None,
) -> None:
    """Give every message of *kind* to *handle*, with the number of the attempt (from 1), *slots* at a time, for ever.

    *durable* names the group that shares the work. A handler that raises `Unavailable`, or anything that nobody
    foresaw, is given the message again later. One that cannot be read, or breaks its handler again and again, is
    buried once *give_up* has been told its id and the reason. When cancelled, the handlers under way have *drain* to
    finish; then they are cancelled, and their messages are free for others at once.
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
            task = asyncio.create_task(_handle(stream, message, kind, handle, lease, give_up))
            working.add(task)
            task.add_done_callback(working.discard)
            task.add_done_callback(lambda _: free.release())
    finally:
        await _finish(working, drain)
        with suppress(NatsError):
            await source.unsubscribe()


async def subscribe(nats: Nats, kind: type[M], handle: Callable[[M], None]) -> None:
    """Tell *handle* every message of *kind* that is said from now on, while the connection holds; nothing is kept.

    What JetStream stores, plain subscribers hear as well.
    """

    async def heard(message: Msg) -> None:
        try:
            handle(msgspec.json.decode(message.data, type=kind))
        except msgspec.DecodeError as error:
            log.error("unreadable message ignored", subject=message.subject, error=str(error))

    await nats.client.subscribe(kind.subjects(), cb=heard)


async def _subscribe(
    stream: JetStreamContext, durable: str, kind: type[Message], lease: timedelta
) -> JetStreamContext.PullSubscription:
    name = await stream.find_stream_name_by_subject(kind.subjects())
    config = ConsumerConfig(
        durable_name=durable,
        filter_subject=kind.subjects(),
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


async def _handle(
    stream: JetStreamContext,
    message: Msg,
    kind: type[M],
    handle: Handler[M],
    lease: timedelta,
    give_up: GiveUp | None,
) -> None:
    headers = message.headers or {}
    with tracing(headers.get("x-request-id") or new_id(), headers.get("traceparent")):
        heart = asyncio.create_task(_beat(message, lease))
        attempt = message.metadata.num_delivered
        try:
            why = await _try(message, kind, handle, attempt)
            if why is None:
                await message.ack()
            else:
                await _dead_letter(stream, message, why, give_up)
        except Unavailable as error:
            log.warning("message put back", subject=message.subject, error=str(error))
            await message.nak(delay=min(2 ** min(attempt, 4), SLOWEST))
        except asyncio.CancelledError:
            await message.nak()
            raise
        except Exception:  # noqa: BLE001  an edge: whatever it was, the message is not lost
            log.exception("message put back", subject=message.subject)
            await message.nak(delay=10)
        finally:
            heart.cancel()


async def _try(message: Msg, kind: type[M], handle: Handler[M], attempt: int) -> str | None:
    """Have *message* handled; answers why it must be buried, if it must."""
    if attempt > FATAL:
        return f"taken {FATAL} times, and never finished"
    try:
        content = msgspec.json.decode(message.data, type=kind)
    except msgspec.DecodeError as error:
        return f"cannot be read: {error}"
    try:
        await handle(content, attempt)
    except Unavailable:
        raise
    except Exception as error:
        if attempt < BROKEN:
            raise
        log.exception("message given up", subject=message.subject, id=content.id)
        return f"broke its handler {BROKEN} times, at last with {type(error).__name__}: {error}"
    return None


class _Named(Struct):
    id: str = ""


async def _dead_letter(stream: JetStreamContext, message: Msg, why: str, give_up: GiveUp | None) -> None:
    with suppress(msgspec.DecodeError):
        if give_up and (named := msgspec.json.decode(message.data, type=_Named)).id:
            await give_up(named.id, why)
    await dead_letter(stream, message, why)
    await message.term()
    log.error("message buried", subject=message.subject, reason=why)


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
