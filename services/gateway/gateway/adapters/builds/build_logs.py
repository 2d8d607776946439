"""Build logs: the object that the builder stores at the end, or until then the lines in JetStream."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DeliverPolicy
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from swell.errors import Unavailable
from swell.log import log, warn_once_a_second
from swell.store.attestations import Attestation, attestation_key
from swell.store.logs import (
    ATTEMPT,
    STEPS,
    STREAM,
    LoggedStep,
    decode_header,
    decode_steps,
    lock_key,
    log_key,
    log_subject,
    provenance_key,
    steps_key,
)
from swell.store.objects import Objects


class BuildLogs:
    def __init__(self, objects: Objects, stream: JetStreamContext) -> None:
        self._objects = objects
        self._stream = stream

    async def complete(self, build_id: str) -> AsyncIterator[bytes] | None:
        if await self._objects.size(log_key(build_id)) is None:
            return None
        return self._stored(log_key(build_id))

    async def steps(self, build_id: str, attempt: int) -> tuple[LoggedStep, ...]:
        """The steps of *attempt*; those in the stream while the log is not stored."""
        try:
            content = await self._objects.get(steps_key(build_id))
            if content or await self._objects.size(log_key(build_id)) is not None:
                return decode_steps(content, attempt) if content else ()
        except Unavailable as error:
            log.warning("steps are read from the stream", build_id=build_id, error=str(error))
        steps = list[LoggedStep]()
        async with aclosing(self._messages(build_id)) as messages:
            async for message in messages:
                headers = message.headers or {}
                if headers.get(ATTEMPT) == str(attempt):
                    steps += decode_header(headers.get(STEPS, ""))
        return tuple(steps)

    async def lock(self, build_id: str) -> AsyncIterator[bytes] | None:
        if await self._objects.size(lock_key(build_id)) is None:
            return None
        return self._stored(lock_key(build_id))

    async def attestation(self, build_id: str, kind: Attestation) -> bytes | None:
        """The bundle that is attached to the image; for an unsigned provenance, what the builder has stored."""
        content = await self._objects.get(attestation_key(build_id, kind))
        if content is None and kind is Attestation.PROVENANCE:
            return await self._objects.get(provenance_key(build_id))
        return content

    async def attestations(self, build_id: str) -> frozenset[Attestation]:
        """The kinds of stored statements about a build, an unsigned provenance included."""
        keys = {kind: [attestation_key(build_id, kind)] for kind in Attestation}
        keys[Attestation.PROVENANCE].append(provenance_key(build_id))
        names = [(kind, key) for kind, alternatives in keys.items() for key in alternatives]
        sizes = await asyncio.gather(*(self._objects.size(key) for _, key in names))
        return frozenset(kind for (kind, _), size in zip(names, sizes, strict=True) if size is not None)

    async def _stored(self, key: str) -> AsyncIterator[bytes]:
        async with self._objects.open(key) as pieces:
            async for piece in pieces:
                yield piece

    async def so_far(self, build_id: str) -> AsyncIterator[bytes]:
        """The lines in the stream, up to the last line at the time of the call: the log may grow indefinitely."""
        async with aclosing(self._messages(build_id)) as messages:
            async for message in messages:
                yield message.data

    async def _messages(self, build_id: str) -> AsyncGenerator[Msg]:
        """The messages in the stream at the time of the call; raises `Unavailable`."""
        subject = log_subject(build_id)
        try:
            last = (await self._stream.get_last_msg(STREAM, subject)).seq or 0
            lines = await self._stream.subscribe(subject, ordered_consumer=True, deliver_policy=DeliverPolicy.ALL)
            try:
                sequence = 0
                while sequence < last:
                    message = await lines.next_msg(timeout=5)
                    sequence = message.metadata.sequence.stream
                    yield message
            finally:
                await lines.unsubscribe()
        except NotFoundError:
            return
        except (NatsError, JetStreamError, TimeoutError) as error:
            warn_once_a_second("NATS failed", error=str(error) or "timeout")
            raise Unavailable("the log cannot be read just now") from error
