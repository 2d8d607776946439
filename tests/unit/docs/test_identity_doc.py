"""The table of read authorisation in `docs/identity.md` is the one that the gateway uses."""

from pathlib import Path

from gateway.domain.access.record_access import TABLE, Reader, RecordAccess

PAGE = Path("docs/identity.md").read_text()
READERS = (Reader.REQUESTER, Reader.ORGANISATION, Reader.ANYONE, Reader.OPERATOR)


def test_the_table_of_readers_is_current() -> None:
    """Each cell of the page, and no other."""
    section = PAGE.partition("## Who may read records?")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    header, _, *body = rows

    assert header == ["what", *READERS]
    assert [row[0] for row in body] == [resource.value for resource in TABLE]
    for (_, *cells), levels in zip(body, TABLE.values(), strict=True):
        for reader, cell in zip(READERS, cells, strict=True):
            named = set(RecordAccess) if cell == "all" else {level for level in RecordAccess if f"`{level}`" in cell}
            assert named == {level for level in RecordAccess if {reader, Reader.ANYONE} & levels[level]}
