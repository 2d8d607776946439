"""The events of the audit trail, newest first."""

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from gateway.audit.chain import events_of
from gateway.audit.events import AuditEvent, people_of, renamed
from gateway.operate.pages import page_size
from swell.api.operator import AuditPage, AuditRecord
from swell.errors import BadRequest, NotSupported

_CURSOR = re.compile(r"(\d{1,18})\.(\d{1,4})", re.ASCII)


class Stored(Protocol):
    """Raises `Unavailable` when a backend does not answer."""

    async def numbers(self) -> range:
        """The numbers of the stored batches."""

    async def batch(self, number: int) -> bytes | None:
        """The batch *number*; None if it has expired."""

    async def names(self, pseudonyms: Iterable[str]) -> Mapping[str, str]:
        """The names of those *pseudonyms* that are known."""


class AuditTrail:
    """Reads the trail. Without *stored*, this server has none."""

    def __init__(self, stored: Stored | None) -> None:
        self._stored = stored

    async def page(self, cursor: str | None, limit: int | None) -> AuditPage:
        """At most *limit* events (1 to 100, default 20) after *cursor*, newest first, with the names of users.

        The chain is not verified here; `python -m gateway.audit verify` does that.

        Raises:
            BadRequest: a parameter is malformed.
            NotSupported: this server has no audit trail.
        """
        if self._stored is None:
            raise NotSupported("this server has no audit trail: its operator has set SWELL_AUDIT_AGE to 0")
        size, numbers = page_size(limit), await self._stored.numbers()
        number, end = _position(cursor, numbers)
        events, following = list[AuditEvent](), None
        while number in numbers and len(events) < size:
            content = await self._stored.batch(number)
            batch = events_of(content) if content else ()
            left = batch[:end]
            start = max(len(left) - (size - len(events)), 0)
            events += reversed(left[start:])
            if start:
                following = f"{number}.{start}"
            elif len(events) == size and number - 1 in numbers:
                following = f"{number - 1}.{_ALL}"
            number, end = number - 1, _ALL
        names = await self._stored.names(people_of(events))
        return AuditPage(events=tuple(_record(renamed(event, names)) for event in events), next=following)


_ALL = 9999  # more than a batch has


def _position(cursor: str | None, numbers: range) -> tuple[int, int]:
    """The batch to begin with, and how many of its events come before the cursor."""
    if cursor is None:
        return numbers.stop - 1, _ALL
    if not (match := _CURSOR.fullmatch(cursor)):
        raise BadRequest("cursor is not one that a page had as its next")
    return min(int(match[1]), numbers.stop - 1), int(match[2])


def _record(event: AuditEvent) -> AuditRecord:
    return AuditRecord(
        id=event.id,
        time=event.time,
        action=event.action,
        user=event.user,
        actor=event.actor,
        organisation=event.organisation,
        subject=event.subject,
        image=event.image,
    )
