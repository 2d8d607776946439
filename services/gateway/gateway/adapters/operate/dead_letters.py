"""The dead letters in JetStream."""

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct
from nats.js import JetStreamContext

from swell.api.operator import DeadLetterRecord
from swell.jobs import dead_letters
from swell.jobs.dead_letters import DeadLetter
from swell.jobs.streams import translated


class StreamDeadLetters:
    """Raises `Unavailable` when the stream does not answer."""

    def __init__(self, stream: JetStreamContext) -> None:
        self._stream = stream

    async def page(self, after: int, limit: int) -> list[DeadLetterRecord]:
        """Return at most *limit* dead letters with numbers above *after*, oldest first."""
        records: list[DeadLetterRecord] = []
        with translated():
            async for letter in dead_letters.dead_letters(self._stream, after):
                records.append(record_of(letter))
                if len(records) >= limit:
                    break
        return records

    async def replay(self, number: int) -> DeadLetterRecord | None:
        """Publish the dead letter again, and delete it; None if it does not exist."""
        return await self._apply(number, dead_letters.replay)

    async def discard(self, number: int) -> DeadLetterRecord | None:
        """Delete the dead letter; None if it does not exist."""
        return await self._apply(number, dead_letters.forget)

    async def _apply(
        self, number: int, change: Callable[[JetStreamContext, DeadLetter], Awaitable[None]]
    ) -> DeadLetterRecord | None:
        with translated():
            if (letter := await dead_letters.get(self._stream, number)) is None:
                return None
            await change(self._stream, letter)
        return record_of(letter)


class _Identified(Struct):
    id: str = ""


def record_of(letter: DeadLetter) -> DeadLetterRecord:
    try:
        job_id = msgspec.json.decode(letter.content, type=_Identified).id
    except msgspec.DecodeError:
        job_id = ""
    return DeadLetterRecord(
        number=letter.number,
        subject=letter.subject,
        reason=letter.reason,
        job_id=job_id[:200],
        stored=letter.stored,
        size=len(letter.content),
    )
