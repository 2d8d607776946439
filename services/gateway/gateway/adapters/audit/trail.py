"""The audit trail in JetStream: a queue of events, and the stream of sealed batches.

Events wait in a work queue, so that requests do not wait for the chain. A writer in each gateway takes them and appends
batches with a compare-and-set of the last sequence number: all writers append to one chain.
Source: NATS documentation, "Expected last sequence", https://docs.nats.io/nats-concepts/jetstream/headers
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import APIError, NotFoundError

from gateway.adapters.audit.head import AuditHead
from gateway.adapters.audit.pseudonyms import Pseudonyms
from gateway.audit.chain import MOST_EVENTS, hash_of, number_of, seal
from gateway.audit.events import Action, AuditEvent, people_of, renamed
from swell.errors import Unavailable
from swell.jobs.publish import store
from swell.jobs.streams import Nats, add_streams, translated
from swell.log import log, new_id

QUEUE, SEALED = "AUDIT_QUEUE", "AUDIT"
_QUEUED, _CHAIN = "audit.queue", "audit.sealed"
_WRITER = "audit-writer"
_MOST_WAITING = 20_000  # events in this process that are not stored yet
_TOGETHER = 50  # events at most in a message of the queue
_GATHERING = (
    0.1  # seconds in which events gather, so that a thousand requests a second need ten messages, not a thousand
)
_PAUSE = 1.0  # seconds
_WRONG_LAST_SEQUENCE = 10071


async def open_streams(nats: Nats, age: timedelta) -> None:
    """Create both streams; sealed batches are kept for *age*.

    Raises:
        Unavailable: the server does not answer, or refuses them.
    """
    await add_streams(
        nats.stream,
        StreamConfig(
            name=QUEUE,
            subjects=[_QUEUED],
            retention=RetentionPolicy.WORK_QUEUE,
            discard=DiscardPolicy.NEW,
            max_bytes=1 << 30,
            duplicate_window=600.0,
        ),
        StreamConfig(
            name=SEALED,
            subjects=[_CHAIN],
            max_age=age.total_seconds(),
            allow_direct=True,
            deny_delete=True,
            deny_purge=True,
        ),
    )


class AuditLog:
    """Stores events in the background; a process that is killed loses at most those of its last second."""

    def __init__(self, nats: Nats) -> None:
        self._nats = nats
        self._waiting: deque[AuditEvent] = deque()
        self._next: list[
            AuditEvent
        ] = []  # of the next message; the same events when it is sent again, with the same id
        self._added = asyncio.Event()

    def record(self, action: Action, **fields: str) -> None:
        """Add an event; the log has those that do not fit into memory while NATS is unavailable."""
        event = AuditEvent(id=new_id(), time=datetime.now(UTC), action=action, **fields)
        if len(self._waiting) >= _MOST_WAITING:
            log.error("audit event not stored", action=action, subject=event.subject, user=event.user)
            return
        self._waiting.append(event)
        self._added.set()

    async def run(self) -> None:
        """Store events until cancelled, and then those that wait, within 5 s."""
        try:
            while True:
                await self._added.wait()
                await asyncio.sleep(_GATHERING)
                self._added.clear()
                try:
                    await self.store_waiting()
                except Unavailable as error:
                    log.warning("audit events wait", count=len(self._next) + len(self._waiting), error=str(error))
                    self._added.set()
                    await asyncio.sleep(_PAUSE)
        finally:
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(5):
                    await self.store_waiting()

    async def store_waiting(self) -> None:
        """Store all events that wait; raises `Unavailable`."""
        while self._next or self._waiting:
            if not self._next:
                self._next = [self._waiting.popleft() for _ in range(min(_TOGETHER, len(self._waiting)))]
            headers = {"Nats-Msg-Id": self._next[0].id}
            await store(self._nats.stream, _QUEUED, msgspec.json.encode(self._next), headers)
            self._next = []


class AuditWriter:
    """Seals the events of the queue into batches, with pseudonyms in the place of names.

    The hash of the last batch is stored as *head*, outside of NATS.
    """

    def __init__(self, nats: Nats, pseudonyms: Pseudonyms, age: timedelta, head: AuditHead) -> None:
        self._head = head
        self._nats = nats
        self._pseudonyms = pseudonyms
        self._age = age

    async def run(self) -> None:
        """Seal events until cancelled."""
        while not _is_cancelled():
            try:
                await open_streams(self._nats, self._age)
                subscription = await self._subscribe()
                try:
                    while not _is_cancelled():
                        await self._seal_some(subscription)
                finally:
                    with suppress(NatsError):
                        await subscription.unsubscribe()
            except (Unavailable, NatsError, TimeoutError) as error:
                log.warning("audit events not sealed yet", error=str(error) or "timeout")
                await asyncio.sleep(_PAUSE)

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        config = ConsumerConfig(
            durable_name=_WRITER,
            filter_subject=_QUEUED,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=30,
            max_deliver=-1,
            max_ack_pending=1000,
        )
        with translated():
            await self._nats.stream.add_consumer(QUEUE, config)
            return await self._nats.stream.pull_subscribe_bind(_WRITER, QUEUE)

    async def _seal_some(self, subscription: JetStreamContext.PullSubscription) -> None:
        try:
            messages: list[Msg] = await subscription.fetch(MOST_EVENTS // _TOGETHER, timeout=5)
        except TimeoutError:
            with translated():
                await subscription.consumer_info()  # raises if the consumer or its stream was lost
            return
        events = list[AuditEvent]()
        for message in messages:
            try:
                events += msgspec.json.decode(message.data, type=list[AuditEvent])
            except (msgspec.MsgspecError, RecursionError) as error:
                log.error("unreadable audit event ignored", error=str(error))
        names = await self._pseudonyms.of(people_of(events))
        if events:
            await self._append([renamed(event, names) for event in events])
        for message in messages:
            await message.ack()

    async def _append(self, events: list[AuditEvent]) -> None:
        """Append a batch of *events*; again with the new last batch if another writer has appended one."""
        for _ in range(100):
            sequence, last = await last_batch(self._nats)
            if last and number_of(last) is None:
                log.error("foreign message in the audit trail", sequence=sequence)
            content = seal(last, events, datetime.now(UTC))
            headers = {"Nats-Expected-Last-Sequence": str(sequence)}
            try:
                await self._nats.stream.publish(_CHAIN, content, headers=headers, timeout=5)
            except APIError as error:
                if error.err_code != _WRONG_LAST_SEQUENCE:
                    raise
                continue
            log.info("audit batch sealed", sequence=sequence + 1, events=len(events), hash=hash_of(content))
            await self._head.put(hash_of(content), self._age)
            return
        raise Unavailable("other writers append to the audit trail all the time")


async def last_batch(nats: Nats) -> tuple[int, bytes | None]:
    """The last sequence number of the chain, and the bytes of the last batch, if there is one.

    Raises:
        Unavailable: the server does not answer.
    """
    with translated():
        sequence = (await nats.stream.stream_info(SEALED)).state.last_seq
        try:
            message = await nats.stream.get_msg(SEALED, sequence) if sequence else None
        except NotFoundError:  # it has expired
            message = None
    return sequence, message.data if message else None


async def batches(nats: Nats) -> AsyncIterator[bytes]:
    """The bytes of all sealed batches, in their order.

    Raises:
        Unavailable: the server does not answer.
    """
    with translated():
        state = (await nats.stream.stream_info(SEALED)).state
    for sequence in range(max(state.first_seq, 1), state.last_seq + 1):  # 0 and 0 in a new stream
        with translated("a batch of the audit trail is missing, or the message queue does not answer"):
            message = await nats.stream.get_msg(SEALED, sequence)
        yield message.data or b""


def _is_cancelled() -> bool:
    """Whether the current task is cancelled: the clients of NATS and Redis may swallow a cancellation."""
    task = asyncio.current_task()
    return bool(task and task.cancelling())
