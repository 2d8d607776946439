"""Rows of a PostgreSQL dump: values as they were, and bounded lines."""

import io

import pytest

from gateway.wave_import import copy_text
from gateway.wave_import.copy_text import Row, Skipped, rows
from swell.errors import BadRequest

TABLES = frozenset({"wave_build"})


def dump(*lines: str, columns: str = "id, data") -> io.BytesIO:
    text = "\n".join(["-- a dump", f"COPY public.wave_build ({columns}) FROM stdin;", *lines, "\\.", "SELECT 1;", ""])
    return io.BytesIO(text.encode())


def test_escapes_are_those_of_copy() -> None:
    """Backslashes of JSON are doubled in the dump."""
    line = r"a\tb" + "\t" + r'{"x": "tab \\t, line \\n, quote \\"", "y": "\b\f\n\r\v\x41\101\q"}'
    (row,) = rows(dump(line), TABLES)
    assert isinstance(row, Row)
    assert row.values == {
        "id": b"a\tb",
        "data": b'{"x": "tab \\t, line \\n, quote \\"", "y": "\b\f\n\r\vAAq"}',
    }


def test_null_is_not_the_text_n() -> None:
    """`\\N` is NULL, `\\\\N` a backslash and an N."""
    found = list(rows(dump("\\N\tx", "\\\\N\tx"), TABLES))
    assert [row.values["id"] for row in found if isinstance(row, Row)] == [None, b"\\N"]


def test_other_tables_and_statements_are_ignored() -> None:
    """Also rows of other tables that look like the beginning of a table."""
    text = (
        b"COPY public.other (a) FROM stdin;\nCOPY public.wave_build (id) FROM stdin;\n\\.\n"
        b'COPY "wave"."wave_build" ("id", data) FROM stdin;\nx\ty\n\\.\n'
    )
    assert list(rows(io.BytesIO(text), TABLES)) == [Row("wave_build", {"id": b"x", "data": b"y"})]


def test_a_line_that_is_too_long_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by one line, and the rows after it are read."""
    monkeypatch.setattr(copy_text, "MAX_LINE", 64)
    found = list(rows(dump("a\t" + "x" * 1000, "b\ty"), TABLES))
    assert found == [Skipped("wave_build"), Row("wave_build", {"id": b"b", "data": b"y"})]


def test_a_row_with_another_number_of_columns_is_skipped() -> None:
    """It is not read as a row with other values."""
    assert list(rows(dump("a\tb\tc", "d"), TABLES)) == [Skipped("wave_build"), Skipped("wave_build")]


@pytest.mark.parametrize("content", [b"PGDMP\x01\x0e", b"COPY public.wave_build (id) FROM stdin;\nx\n"])
def test_other_formats_and_broken_dumps_are_refused(content: bytes) -> None:
    """A dump in the custom format has to be converted; one that breaks off lacks records."""
    with pytest.raises(BadRequest):
        list(rows(io.BytesIO(content), TABLES))
