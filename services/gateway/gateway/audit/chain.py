"""The chain of sealed batches: each has the SHA-256 of the bytes of the one before it. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import sha256

import msgspec
from msgspec import Struct

from gateway.audit.events import AuditEvent
from swell.errors import SwellError

MOST_EVENTS = 500  # of a batch


class Batch(Struct, frozen=True, kw_only=True):
    """A sealed batch. `previous` is the hash of the batch before it; empty for the first one, whose number is 1."""

    number: int
    previous: str
    sealed: datetime
    events: tuple[AuditEvent, ...]


class ChainBroken(SwellError):
    """The audit trail was changed."""


class Checked(Struct, frozen=True):
    """A batch that follows the one before it, and its hash."""

    batch: Batch
    hash: str


def hash_of(content: bytes) -> str:
    return sha256(content).hexdigest()


def seal(last: bytes | None, events: Sequence[AuditEvent], now: datetime) -> bytes:
    """Return the bytes of the batch of *events* that follows the message with the bytes *last*.

    If that is no batch, which `verify` reports, batches are numbered from 1 again.
    """
    number = (number_of(last) or 0) + 1 if last else 1
    previous = hash_of(last) if last else ""
    return msgspec.json.encode(Batch(number=number, previous=previous, sealed=now, events=tuple(events)))


def number_of(content: bytes) -> int | None:
    """The number of the batch with the bytes *content*; None if it is no batch."""
    return batch.number if (batch := _batch(content)) else None


def events_of(content: bytes) -> tuple[AuditEvent, ...]:
    """The events in the batch with the bytes *content*; empty if it is no batch, which `verify` reports."""
    return batch.events if (batch := _batch(content)) else ()


def _batch(content: bytes) -> Batch | None:
    try:
        return msgspec.json.decode(content, type=Batch)
    except (msgspec.MsgspecError, RecursionError):
        return None


def verify(contents: Iterable[bytes]) -> Iterator[Checked]:
    """Check the batches with the bytes *contents*, in their order. Older batches than the first one may have expired.

    Raises:
        ChainBroken: one of them cannot be read, or does not follow the one before it.
    """
    last: Checked | None = None
    for content in contents:
        last = follow(last, content)
        yield last


def follow(last: Checked | None, content: bytes) -> Checked:
    """Return the batch with the bytes *content*, which must follow *last*; raises `ChainBroken`."""
    after = f"after batch {last.batch.number}" if last else "at the beginning"
    if (batch := _batch(content)) is None:
        raise ChainBroken(f"the audit trail is broken {after}: a batch cannot be read")
    if last and batch.number != last.batch.number + 1:
        raise ChainBroken(f"the audit trail is broken {after}: batch {batch.number} follows")
    if last and batch.previous != last.hash:
        raise ChainBroken(f"the audit trail is broken {after}: it was changed, or the one that follows it")
    return Checked(batch, hash_of(content))
