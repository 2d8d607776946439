"""Read the rows of tables in a dump of `pg_dump`, one line at a time.

Source: PostgreSQL, "COPY", "Text Format", https://www.postgresql.org/docs/current/sql-copy.html
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from msgspec import Struct

from swell.errors import BadRequest

MAX_LINE = 64 << 20  # bytes
_COPY = re.compile(rb'COPY (?:"?\w+"?\.)?"?(\w+)"? \(([^)]{1,10000})\) FROM stdin;\s*')
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_SINGLE = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_END, _NULL, _CUSTOM = b"\\.", b"\\N", b"PGDMP"


class Row(Struct, frozen=True):
    """A row of *table*: its values by the names of the columns; None is NULL."""

    table: str
    values: dict[str, bytes | None]


class Skipped(Struct, frozen=True):
    """A row of *table* that is longer than 64 MiB, or has another number of columns."""

    table: str


def rows(file: BinaryIO, tables: frozenset[str]) -> Iterator[Row | Skipped]:
    """Yield the rows of *tables* in a dump in the plain format; other statements are ignored.

    Raises:
        BadRequest: the dump is in the custom format, or breaks off inside a table.
    """
    first = file.readline(MAX_LINE)
    if first.startswith(_CUSTOM):
        raise BadRequest("the dump is in the custom format: convert it with `pg_restore -f dump.sql`")
    line: bytes = first
    while line:
        if (match := _COPY.fullmatch(line)) and (table := match[1].decode()) in tables:
            yield from _table(file, table, [name.strip().strip(b'"').decode() for name in match[2].split(b",")])
        elif match:
            _skip_table(file, match[1].decode())
        _skip_rest(file, line)
        line = file.readline(MAX_LINE)


def _table(file: BinaryIO, table: str, columns: list[str]) -> Iterator[Row | Skipped]:
    while line := file.readline(MAX_LINE):
        if line.rstrip(b"\r\n") == _END:
            return
        if not line.endswith(b"\n"):
            _skip_rest(file, line)
            yield Skipped(table)
            continue
        values = line.rstrip(b"\r\n").split(b"\t")
        if len(values) != len(columns):
            yield Skipped(table)
            continue
        yield Row(table, {name: _value(value) for name, value in zip(columns, values, strict=True)})
    raise BadRequest(f"the dump breaks off in the table {table}")


def _skip_table(file: BinaryIO, table: str) -> None:
    while line := file.readline(MAX_LINE):
        if line.rstrip(b"\r\n") == _END:
            return
        _skip_rest(file, line)
    raise BadRequest(f"the dump breaks off in the table {table}")


def _skip_rest(file: BinaryIO, line: bytes) -> None:
    """Read to the end of a *line* that is longer than the limit."""
    while line and not line.endswith(b"\n"):
        line = file.readline(MAX_LINE)


def _value(value: bytes) -> bytes | None:
    if value == _NULL:
        return None
    return _ESCAPE.sub(_unescaped, value) if b"\\" in value else value


def _unescaped(match: re.Match[bytes]) -> bytes:
    sequence: bytes = match[1]
    if sequence[:1] == b"x" and len(sequence) > 1:
        return bytes([int(sequence[1:], 16)])
    if sequence[:1] in b"01234567":
        return bytes([int(sequence, 8) & 0xFF])
    return _SINGLE.get(sequence, sequence)
