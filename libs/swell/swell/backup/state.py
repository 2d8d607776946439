"""The records of Redis, by type: a backup of one server can be restored into another one, also of another version."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from msgspec import Struct
from redis.asyncio import Redis

from swell.errors import BadRequest
from swell.store import keys
from swell.store.connections.redis import raw, text, translated

PATTERN = "swell:*"
BATCH = 500
CHUNK = 1000  # entries of a collection in a record
_TRANSIENT = (keys.WORKERS, keys.worker(""), keys.WORKER_CAPABILITIES, keys.ENGINE_NAMES, keys.SCANNER_NAMES)
"""What running services write, and what expires when they stop."""


class StateRecord(Struct, frozen=True, array_like=True):
    """A key, or a part of it: *first* says whether it begins the key. *expires* is in ms since 1970; 0 is never.

    *values* are the string, the entries of a list or a set, or names and values (scores) of a hash (sorted set) in
    turn.
    """

    key: bytes
    kind: str
    first: bool
    expires: int
    values: list[bytes]


class Writer(Protocol):
    def write(self, record: StateRecord) -> None: ...


async def dump(redis: Redis, writer: Writer) -> None:
    """Write all records; what changes meanwhile is written as it is before or afterwards."""
    cursor = 0
    with translated():
        while True:
            cursor, names = await redis.scan(cursor, match=PATTERN, count=BATCH)
            kept = [raw(name) for name in names if not text(name).startswith(_TRANSIENT)]
            if kept:
                await _dump_keys(redis, kept, writer)
            if not cursor:
                return


async def _dump_keys(redis: Redis, names: Sequence[bytes], writer: Writer) -> None:
    async with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.type(name)
            pipe.pexpiretime(text(name))
        replies: list[Any] = await pipe.execute()
    kinds = [text(kind) for kind in replies[::2]]
    async with redis.pipeline(transaction=False) as pipe:
        for name, kind in zip(names, kinds, strict=True):
            _read(pipe, name, kind, 0)
        contents: list[Any] = await pipe.execute()
    for name, kind, expires, content in zip(names, kinds, replies[1::2], contents, strict=True):
        if kind == "none" or content is None:  # it has expired meanwhile
            continue
        values, following = _values(kind, content, 0)
        writer.write(StateRecord(name, kind, True, max(0, int(expires)), values))
        while following:
            async with redis.pipeline(transaction=False) as pipe:
                _read(pipe, name, kind, following)
                (more,) = await pipe.execute()
            values, following = _values(kind, more, following)
            writer.write(StateRecord(name, kind, False, max(0, int(expires)), values))


def _read(pipe: Any, name: bytes, kind: str, cursor: int) -> None:
    match kind:
        case "string":
            pipe.get(name)
        case "list":
            pipe.lrange(name, cursor, cursor + CHUNK - 1)
        case "hash":
            pipe.hscan(name, cursor, count=CHUNK)
        case "set":
            pipe.sscan(name, cursor, count=CHUNK)
        case "zset":
            pipe.zscan(name, cursor, count=CHUNK)
        case "none":
            pipe.exists(name)
        case _:
            raise BadRequest(f"{name!r} has the type {kind}, which no version of Swell writes")


def _values(kind: str, content: Any, cursor: int) -> tuple[list[bytes], int]:
    """The values in the reply *content*, and the cursor of the next ones; 0 at the end."""
    if kind == "string":
        return [raw(content)], 0
    if kind == "list":
        return [raw(value) for value in content], cursor + CHUNK if len(content) == CHUNK else 0
    following, entries = content
    if kind == "set":
        return [raw(entry) for entry in entries], following
    pairs: Iterable[tuple[Any, Any]] = entries.items() if isinstance(entries, dict) else entries
    values = [part for name, value in pairs for part in (raw(name), _encoded(value))]
    return values, following


def _encoded(value: Any) -> bytes:
    return repr(value).encode() if isinstance(value, int | float) else raw(value)


async def is_empty(redis: Redis) -> bool:
    """Return whether Redis has no record of Swell, except those of running workers."""
    with translated():
        async for name in redis.scan_iter(PATTERN, count=BATCH):
            if not text(name).startswith(_TRANSIENT):
                return False
    return True


async def load(redis: Redis, records: Iterable[StateRecord]) -> int:
    """Write *records*, in the place of what their keys have; those that have expired are left out. Returns the number
    of keys."""
    batch, count = list[StateRecord](), 0
    for record in records:
        batch.append(record)
        count += record.first
        if len(batch) >= BATCH:
            await _write(redis, batch)
            batch = []
    await _write(redis, batch)
    return count


async def _write(redis: Redis, batch: Sequence[StateRecord]) -> None:
    now = time.time() * 1000
    with translated():
        async with redis.pipeline(transaction=False) as pipe:
            for record in batch:
                if 0 < record.expires <= now:
                    continue
                if record.first:
                    pipe.delete(record.key)
                _add(pipe, record)
                if record.expires:
                    pipe.pexpireat(record.key, record.expires)
            await pipe.execute()


def _add(pipe: Any, record: StateRecord) -> None:
    values = record.values
    if not values:
        return
    match record.kind:
        case "string":
            pipe.set(record.key, values[0])
        case "list":
            pipe.rpush(record.key, *values)
        case "set":
            pipe.sadd(record.key, *values)
        case "hash":
            pipe.hset(record.key, mapping=dict(zip(values[::2], values[1::2], strict=True)))
        case "zset":
            scores = zip(values[::2], map(float, values[1::2]), strict=True)
            pipe.zadd(record.key, dict(scores))
