"""Dead letters: list them, publish them again, or delete them."""

from collections.abc import Sequence
from typing import Protocol

from gateway.audit.events import NO_AUDIT, Action, Audit
from gateway.operate.pages import number_of, page_size
from swell.api.operator import DeadLetterPage, DeadLetterRecord
from swell.errors import NotFound
from swell.log import log

MAX_NUMBER = 1 << 62


class Stored(Protocol):
    """Raises `Unavailable` when the stream does not answer."""

    async def page(self, after: int, limit: int) -> Sequence[DeadLetterRecord]:
        """Return at most *limit* dead letters with numbers above *after*, oldest first."""

    async def replay(self, number: int) -> DeadLetterRecord | None:
        """Publish the dead letter again, and delete it; None if it does not exist."""

    async def discard(self, number: int) -> DeadLetterRecord | None:
        """Delete the dead letter; None if it does not exist."""


class DeadLetters:
    def __init__(self, stored: Stored, audit: Audit = NO_AUDIT) -> None:
        self._audit = audit
        self._stored = stored

    async def page(self, cursor: str | None, limit: int | None) -> DeadLetterPage:
        """Dead letters, oldest first; raises `BadRequest` for wrong parameters."""
        size = page_size(limit)
        letters = await self._stored.page(number_of(cursor), size + 1)
        following = str(letters[size - 1].number) if len(letters) > size else None
        return DeadLetterPage(dead_letters=tuple(letters[:size]), next=following)

    async def replay(self, number: int, operator: str) -> DeadLetterRecord:
        """Publish the dead letter *number* again: a worker takes it. Raises `NotFound`."""
        letter = _existing(await self._stored.replay(number) if 0 < number <= MAX_NUMBER else None)
        self._audit.record(Action.DEAD_LETTER_REPLAYED, actor=operator, subject=letter.job_id or str(number))
        log.info("dead letter replayed", number=number, subject=letter.subject, by=operator)
        return letter

    async def discard(self, number: int, operator: str) -> DeadLetterRecord:
        """Delete the dead letter *number*. Raises `NotFound`."""
        letter = _existing(await self._stored.discard(number) if 0 < number <= MAX_NUMBER else None)
        self._audit.record(Action.DEAD_LETTER_DISCARDED, actor=operator, subject=letter.job_id or str(number))
        log.info("dead letter discarded", number=number, subject=letter.subject, by=operator)
        return letter


def _existing(letter: DeadLetterRecord | None) -> DeadLetterRecord:
    if letter is None:
        raise NotFound("there is no such dead letter")
    return letter
