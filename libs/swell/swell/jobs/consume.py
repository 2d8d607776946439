"""Consume messages from JetStream. Only this module handles ack, nak, term and heartbeats.

A message is acknowledged when its handler returns. While the handler runs, heartbeats extend the lease; when the
process crashes, another worker receives the message after `lease`. A message that no worker can handle moves to the
dead-letter stream, from which the operator can replay it (`swell.jobs.dead_letters`).
Source: NATS documentation, "JetStream consumers", https://docs.nats.io/nats-concepts/jetstream/consumers
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Struct
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import BadRequestError, NotFoundError
from prometheus_client import Gauge

from swell.concurrency.drain import Drain
from swell.concurrency.periodic import running_every
from swell.concurrency.tasks import TaskOwner
from swell.errors import SwellError, Unavailable
from swell.jobs.dead_letters import dead_letter
from swell.jobs.messages import Message
from swell.jobs.pause import Pause
from swell.jobs.streams import Nats, create_missing, translated
from swell.log import log, new_id, tracing
from swell.observe.instruments import LONG, Durations, measured
from swell.observe.spans import Kind, span

M = TypeVar("M", bound=Message)
Handler = Callable[[M, int], Awaitable[None]]
GiveUp = Callable[[str, str], Awaitable[None]]

LEASE = timedelta(seconds=30)
MAX_FAILURES = 5
"""Deliveries after which a message is dead-lettered when its handler raises an unexpected error."""
MAX_DELIVERIES = 200
"""Deliveries after which a message is dead-lettered in any case: it may crash its workers."""


class Redelivery(NamedTuple):
    """How often a message is delivered whose handler raises `Unavailable`: at most *most* times.

    The pauses are 2 s, 4 s, and so on, up to *longest_pause*.
    """

    most: int = MAX_DELIVERIES
    longest_pause: timedelta = timedelta(seconds=15)

    def pause(self, attempt: int) -> float:
        """The seconds after *attempt*, which is from 1."""
        return min(2.0 ** min(attempt, 30), self.longest_pause.total_seconds())


DEFAULT = Redelivery()

HANDLED = Durations("swell_job_seconds", "Messages that were handled, by their end.", ("consumer", "outcome"), LONG)
RUNNING = Gauge("swell_jobs_running", "Messages that are being handled.", ["consumer"])
SLOTS = Gauge("swell_job_slots", "Messages that this process handles at once.", ["consumer"])


async def consume(
    stream: JetStreamContext,
    durable: str,
    kind: type[M],
    handle: Handler[M],
    *,
    slots: int = 1,
    lease: timedelta = LEASE,
    drain: Drain | None = None,
    give_up: GiveUp | None = None,
    pause: Pause | None = None,
    redelivery: Redelivery = DEFAULT,
) -> None:
    """Call *handle* with every message of *kind* and the number of the attempt (from 1), *slots* at once, until
    cancelled.

    Workers with the same *durable* name share the messages. When a handler raises `Unavailable` or an unexpected error,
    the message is delivered again later. A message that cannot be decoded, or whose handler fails repeatedly, is
    dead-lettered after a call of `give_up(id, reason)`. On cancellation, no further message is taken, and running
    handlers have the time of *drain* to finish; then they are cancelled, and when they have ended, their messages are
    delivered to other workers at once. During *pause*, other workers get the messages.
    """
    pause = pause or Pause()
    source = _Source(stream, durable, kind, lease)
    await source.open_when_available()
    SLOTS.labels(durable).set(slots)
    free = asyncio.Semaphore(slots)
    handlers = TaskOwner()
    try:
        while True:
            await pause.wait()
            await free.acquire()
            message = await source.next()
            if message is None or pause.is_active:
                free.release()
                if message:
                    await _return(message)
                continue
            handling = _handle(stream, durable, message, kind, handle, lease, give_up, redelivery)
            task = handlers.start(_counted(pause, handling))
            task.add_done_callback(lambda _: free.release())
    finally:
        await source.close()
        if drain:
            await handlers.finish(drain)
        await handlers.cancel()


async def _counted(pause: Pause, handling: Awaitable[None]) -> None:
    with pause.handling():
        await handling


async def _return(message: Msg) -> None:
    """Return *message*, for another worker; if the server does not answer, it is delivered after the lease."""
    with suppress(NatsError):
        await message.nak()


async def subscribe(nats: Nats, kind: type[M], handle: Callable[[M], None]) -> None:
    """Call *handle* with every message of *kind* that is published from now on, while the connection holds.

    Messages during an interruption are lost. Messages that JetStream stores are received, too.
    """

    async def receive(message: Msg) -> None:
        try:
            handle(msgspec.json.decode(message.data, type=kind))
        except msgspec.DecodeError as error:
            log.error("unreadable message ignored", subject=message.subject, error=str(error))

    await nats.client.subscribe(kind.subjects(), cb=receive)


class _Source:
    """The messages of a durable consumer. If the server has lost the consumer or its stream, they are created again."""

    def __init__(self, stream: JetStreamContext, durable: str, kind: type[Message], lease: timedelta) -> None:
        self._stream = stream
        self._durable = durable
        self._kind = kind
        self._lease = lease

    async def open(self) -> None:
        """Create the consumer and its stream if they are missing, and subscribe; raises an error of NATS."""
        await create_missing(self._stream)
        name = await self._stream.find_stream_name_by_subject(self._kind.subjects())
        config = ConsumerConfig(
            durable_name=self._durable,
            filter_subject=self._kind.subjects(),
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._lease.total_seconds(),
            max_deliver=-1,
            max_ack_pending=1000,
        )
        await self._stream.add_consumer(name, config)
        self._subscription = await self._stream.pull_subscribe_bind(self._durable, name)

    async def open_when_available(self) -> None:
        """As `open`, again while the server does not answer, so that an outage at the start ends no service.

        Raises:
            BadRequestError: the consumer exists with another configuration.
        """
        while True:
            try:
                return await self.open()
            except BadRequestError:
                raise
            except (NatsError, TimeoutError, Unavailable) as error:
                log.warning("consumer unavailable", durable=self._durable, error=str(error) or "timeout")
            await asyncio.sleep(0.5)

    async def next(self) -> Msg | None:
        """Return the next message; None if none arrives within 5 s, or if the server does not answer."""
        try:
            return (await self._subscription.fetch(1, timeout=5))[0]
        except TimeoutError:
            pass  # also if the consumer is missing: the server ignores requests to it
        except NatsError as error:
            log.warning("messages unavailable", durable=self._durable, error=repr(error))
            await asyncio.sleep(0.5)
        try:
            with translated():
                await self._open_again_if_missing()
        except Unavailable as error:
            log.warning("consumer unavailable", durable=self._durable, error=str(error))
            await asyncio.sleep(0.5)
        return None

    async def _open_again_if_missing(self) -> None:
        try:
            await self._subscription.consumer_info()
        except NotFoundError:
            log.warning("consumer was missing and is created", durable=self._durable)
            await self.close()
            await self.open()

    async def close(self) -> None:
        with suppress(NatsError):
            await self._subscription.unsubscribe()


async def _handle(
    stream: JetStreamContext,
    durable: str,
    message: Msg,
    kind: type[M],
    handle: Handler[M],
    lease: timedelta,
    give_up: GiveUp | None,
    redelivery: Redelivery,
) -> None:
    headers = message.headers or {}
    attempt = message.metadata.num_delivered
    with (
        tracing(headers.get("x-request-id") or new_id(), headers.get("traceparent")),
        span(f"handle {kind.subject}", Kind.CONSUMER) as handling,
        RUNNING.labels(durable).track_inprogress(),
        measured(HANDLED, durable, unless_set="cancelled") as outcome,
    ):
        async with running_every(lease / 3, lambda: _beat(message), event="heartbeat not sent", first=False):
            try:
                if handling:
                    handling.attributes |= {"swell.consumer": durable, "swell.attempt": attempt}
                reason = await _try(message, kind, handle, attempt, redelivery.most)
                if reason is None:
                    await message.ack()
                    outcome.value = "done"
                else:
                    await _dead_letter(stream, message, reason, give_up)
                    outcome.value = "dead-lettered"
            except Unavailable as error:
                outcome.value = "put-back"
                log.warning("message put back", subject=message.subject, error=str(error))
                await message.nak(delay=redelivery.pause(attempt))
            except asyncio.CancelledError:
                await message.nak()
                raise
            except Exception:  # noqa: BLE001  no error may lose the message
                outcome.value = "failed"
                log.exception("message put back", subject=message.subject)
                await message.nak(delay=10)


class _GivenUp(NamedTuple):
    """Why a message becomes a dead letter: for clients, and with details for the operator."""

    public: str
    details: str


async def _try(message: Msg, kind: type[M], handle: Handler[M], attempt: int, most: int) -> _GivenUp | None:
    """Handle *message*; return the reason for a dead letter, if there is one."""
    if attempt > MAX_DELIVERIES:
        reason = f"taken {MAX_DELIVERIES} times, and never finished"
        return _GivenUp(reason, reason)
    try:
        content = msgspec.json.decode(message.data, type=kind)
    except msgspec.DecodeError as error:
        return _GivenUp("cannot be read", f"cannot be read: {error}")
    try:
        await handle(content, attempt)
    except Unavailable as error:
        if attempt < most:
            raise
        reason = f"put back {attempt} times"
        return _GivenUp(f"{reason}: {error}", f"{reason}, at last because of: {error}")
    except Exception as error:
        if attempt < MAX_FAILURES:
            raise
        log.exception("message given up", subject=message.subject, id=content.id)
        reason = f"failed {MAX_FAILURES} times"
        public = f"{reason}: {error}" if isinstance(error, SwellError) else f"{reason} because of an internal error"
        return _GivenUp(public, f"{reason}, at last with {type(error).__name__}: {error}")
    return None


class _Identified(Struct):
    id: str = ""


async def _dead_letter(stream: JetStreamContext, message: Msg, reason: _GivenUp, give_up: GiveUp | None) -> None:
    with suppress(msgspec.DecodeError):
        if give_up and (identified := msgspec.json.decode(message.data, type=_Identified)).id:
            await give_up(identified.id, reason.public)
    await dead_letter(stream, message, reason.details)
    await message.term()
    log.error("message dead-lettered", subject=message.subject, reason=reason.details)


async def _beat(message: Msg) -> None:
    try:
        await message.in_progress()
    except NatsError as error:
        raise Unavailable(str(error)) from error
