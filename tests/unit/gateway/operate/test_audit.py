"""The pages of the audit trail."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import pytest

from gateway.audit.chain import seal
from gateway.audit.events import Action, AuditEvent
from gateway.operate.audit import AuditTrail
from swell.errors import BadRequest, NotSupported

NOW = datetime(2026, 11, 30, tzinfo=UTC)


class Batches:
    """Batches with *sizes* of events, whose ids count up; the first *expired* of them have expired."""

    def __init__(self, sizes: Iterable[int], expired: int = 0) -> None:
        self.sealed, self.expired, number = list[bytes](), expired, 0
        for size in sizes:
            events = [
                AuditEvent(id=str(number + index), time=NOW, action=Action.GRANTED, user=f"person-{number + index}")
                for index in range(size)
            ]
            number += size
            self.sealed.append(seal(self.sealed[-1] if self.sealed else None, events, NOW))

    async def numbers(self) -> range:
        return range(self.expired + 1, len(self.sealed) + 1)

    async def batch(self, number: int) -> bytes | None:
        return self.sealed[number - 1]

    async def names(self, pseudonyms: Iterable[str]) -> Mapping[str, str]:
        return {each: "ada" for each in pseudonyms if each.endswith("0")}


async def listed(trail: AuditTrail, limit: int) -> list[str]:
    """The ids of all events, read in pages."""
    found, cursor, pages = list[str](), None, 0
    while pages == 0 or cursor:
        page = await trail.page(cursor, limit)
        assert len(page.events) <= limit
        found += [event.id for event in page.events]
        cursor, pages = page.next, pages + 1
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("sizes", [(), (1,), (3, 1, 4), (5, 5), (100, 2)])
async def test_pages_have_each_event_once_newest_first(sizes: tuple[int, ...], limit: int) -> None:
    """With any sizes of batches and pages."""
    assert await listed(AuditTrail(Batches(sizes)), limit) == [str(each) for each in reversed(range(sum(sizes)))]


async def test_expired_batches_are_left_out() -> None:
    """A cursor into one of them is the end."""
    trail = AuditTrail(Batches((2, 2, 2), expired=1))

    assert await listed(trail, 3) == ["5", "4", "3", "2"]
    assert (await trail.page("1.2", 10)).events == ()


@pytest.mark.parametrize(
    "content", [b"", b"x", b"{}", b'{"x":' + b"[" * 100_000], ids=["empty", "text", "{}", "nested"]
)
async def test_a_foreign_message_hides_no_events(content: bytes) -> None:
    """A message that is no batch, which `python -m gateway.audit verify` reports."""
    batches = Batches((2, 2, 2))
    batches.sealed[1] = content

    assert await listed(AuditTrail(batches), 3) == ["5", "4", "1", "0"]


async def test_known_users_have_their_names() -> None:
    """A user that was removed stays a pseudonym."""
    page = await AuditTrail(Batches((2,))).page(None, None)

    assert [event.user for event in page.events] == ["person-1", "ada"]


@pytest.mark.parametrize("cursor", ["", "1", "1.", "-1.2", "1.2.3", "9" * 30 + ".1", "1.99999", "١.١"])
async def test_a_wrong_cursor_is_refused(cursor: str) -> None:
    """It is bounded before it reaches a backend."""
    with pytest.raises(BadRequest):
        await AuditTrail(Batches((3,))).page(cursor, 10)


async def test_a_server_without_a_trail_says_so() -> None:
    """Its operator has switched it off."""
    with pytest.raises(NotSupported, match="SWELL_AUDIT_AGE"):
        await AuditTrail(None).page(None, None)
