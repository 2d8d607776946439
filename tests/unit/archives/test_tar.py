"""Tar archives of strangers are read in bounded memory."""

import io
import tarfile

import pytest

from swell.archives import tar
from swell.archives.tar import MAX_HEADERS, TarReader, TarRefused


def header(name: str, size: int, kind: bytes) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.USTAR_FORMAT)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def pax(**fields: str) -> bytes:
    """A header that says *fields* of the next member; each has at most two digits of length."""
    lines = [f" {name.replace('_', '.')}={value}\n" for name, value in fields.items()]
    content = "".join(f"{len(line) + 2}{line}" for line in lines).encode()
    return header("pax", len(content), tarfile.XHDTYPE) + padded(content)


def sparse(entries: int) -> bytes:
    """A file of *entries* holes: their list is in the data, and is read as a header."""
    table = f"{entries}\n".encode() + b"1\n1\n" * entries
    fields = pax(GNU_sparse_major="1", GNU_sparse_minor="0", GNU_sparse_name="file", GNU_sparse_realsize="0")
    return fields + header("file", len(padded(table)), tarfile.REGTYPE) + padded(table)


def pax_of(content: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """A pax header with *content*, whatever it is."""
    return header("pax", len(content), kind) + padded(content)


END = bytes(1024)
PLAIN = header("plain", 3, tarfile.REGTYPE) + padded(b"abc")
HOSTILE = {
    "headers of headers": pax(comment="x") * 2000 + PLAIN,
    "records that overlap": pax_of((b"3 x" * 300_000)[:-1] + b"=") + PLAIN,
    "records of all members that overlap": pax_of((b"3 x" * 300_000)[:-1] + b"=", tarfile.XGLTYPE) + PLAIN,
    "a number of a megabyte": pax_of(b"1" * 1_000_000) + PLAIN,
    "a path that is a number": pax_of(b"300013 path=" + b"1" * 300_000 + b"\n") + PLAIN,
    "a record without a name": pax_of(b"6 =xx\n") + PLAIN,
    "a record that is longer than its header": pax_of(b"99999 path=x\n") + PLAIN,
    "many records": pax_of(b"6 a=b\n" * 2000) + PLAIN,
    "a name of two megabytes": header("long", 2 << 20, tarfile.GNUTYPE_LONGNAME) + bytes(2 << 20) + PLAIN,
}


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("before", [b"", PLAIN], ids=["first", "later"])
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_headers_are_bounded(hostile: bytes, before: bytes, *, seekable: bool) -> None:
    """A context of a megabyte took more than 3 GB in the builder, or ended its job with a RecursionError. One of 200
    bytes stopped all of its threads for minutes, or took gigabytes: `tarfile` has regular expressions for pax headers.
    """
    with pytest.raises(TarRefused):
        for _ in TarReader(io.BytesIO(before + hostile + END), seekable=seekable):
            pass


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("before", [b"", PLAIN], ids=["first", "later"])
def test_the_list_of_a_sparse_file_is_bounded(
    before: bytes, monkeypatch: pytest.MonkeyPatch, *, seekable: bool
) -> None:
    """It is in the data, and `tarfile` makes a tuple of each entry: 1 MB of gzip could be a list of gigabytes."""
    limit = 128 << 10  # bytes; a sixteenth of the real limit, so that the test is quick
    monkeypatch.setattr(tar, "MAX_HEADERS", limit)
    with pytest.raises(TarRefused):
        for _ in TarReader(io.BytesIO(before + sparse(limit // 4 + 1000) + END), seekable=seekable):
            pass


@pytest.mark.parametrize("seekable", [True, False])
def test_files_of_any_size_are_read(*, seekable: bool) -> None:
    """The limit is on headers; small sparse files are read, too."""
    large = bytes(3 * MAX_HEADERS)
    content = PLAIN + header("large", len(large), tarfile.REGTYPE) + large + sparse(1) + PLAIN + END
    with TarReader(io.BytesIO(content), seekable=seekable) as reader:
        found = [(member.name, len(read(reader, member))) for member in reader]

    assert found == [("plain", 3), ("large", len(large)), ("file", 0), ("plain", 3)]


def test_a_file_that_no_disk_could_store_is_refused() -> None:
    """Its end has no place in the archive, which ended the job with an OverflowError."""
    member = tarfile.TarInfo("large")
    member.size = 1 << 63
    with pytest.raises(TarRefused):
        list(TarReader(io.BytesIO(member.tobuf(tarfile.GNU_FORMAT) + END)))


def test_records_that_describe_a_file_are_read() -> None:
    """The others, such as extended attributes, are left out, also if they contain `=` and line ends."""
    attribute = b"SCHILY.xattr.user.x=a=b\n12 path=no\n\0" + b"7" * 5000 + b"\n"
    record = b"%d %s" % (len(attribute) + 5, attribute)
    content = record + b"16 path=\xc3\xa4/name\n" + b"20 mtime=1700000000\n"
    with TarReader(io.BytesIO(pax_of(content) + PLAIN + PLAIN + END)) as reader:
        found = [(member.name, member.mtime, read(reader, member)) for member in reader]

    assert found == [("ä/name", 1700000000, b"abc"), ("plain", 0, b"abc")]


def read(reader: TarReader, member: tarfile.TarInfo) -> bytes:
    content = reader.content(member)
    return b"".join(iter(lambda: content.read(1 << 20), b""))


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_only_files_have_content(kind: bytes) -> None:
    """A link would be followed to another member."""
    with TarReader(io.BytesIO(PLAIN + header("plain2", 0, kind) + END)) as reader:
        *_, other = reader
        with pytest.raises(TarRefused):
            reader.content(other)
