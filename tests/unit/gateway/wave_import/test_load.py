"""Rows of a dump that cannot be read are skipped; none of them ends the import."""

import pytest

from gateway.wave_import.load import record_of
from gateway.wave_import.records import RecordInvalid

BUILD, SCAN = b"bd-0123456789abcdef_1", b"sc-0123456789abcdef_1"
DEEP = b'{"targetImage":"a/b:c","containerImage":"a/b:c","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
LAST = b'{"targetImage":"a/b:c","containerImage":"a/b:c","startTime":253402300799,"duration":2592000}'
FIRST = b'{"targetImage":"a/b:c","startTime":"0001-01-01T00:00:00+14:00"}'


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("wave_build", {"id": BUILD, "data": DEEP}),
        ("wave_scan", {"id": SCAN, "data": DEEP}),
        ("wave_build", {"id": BUILD, "data": LAST}),
        ("wave_scan", {"id": SCAN, "data": LAST}),
        ("wave_build", {"id": BUILD, "data": FIRST}),
        ("wave_build", {"id": BUILD, "data": b'{"targetImage":"a"}', "created_at": b"0001-01-01 00:00:00+14"}),
    ],
)
def test_no_row_ends_an_import(table: str, row: dict[str, bytes | None]) -> None:
    """Users of Wave wrote what is in the rows: times at the end of the calendar, and any nesting."""
    with pytest.raises(RecordInvalid):
        record_of(table, row)
