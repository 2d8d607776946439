"""The folder of a backup: files of records, contents by their digest, and the list of all, which is written last.

    backup.json             the list: format, version of Swell, time, numbers, digests of the files below
    state.records.gz        records of Redis
    streams.records.gz      streams of NATS; their contents are below blobs/
    objects.records.gz      keys of objects; their contents are below blobs/
    images.records.gz       images of the registry; their documents and blobs are below blobs/
    blobs/<xx>/<hex>        contents by their SHA-256

A record is MessagePack, after its length in four bytes (big-endian).
"""

import gzip
import hashlib
import os
import struct
import tempfile
from collections.abc import AsyncIterable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec
from msgspec import Struct

from swell.disk import digest_of_file
from swell.errors import BadRequest
from swell.oci.digest import Digest

FORMAT = 1
LIST = "backup.json"
BLOBS = "blobs"
MAX_RECORD = 600 << 20  # bytes; a value of Redis has at most 512 MiB
MAX_LIST = 1 << 20
_PIECE = 1 << 20
_LENGTH = struct.Struct(">I")

T = TypeVar("T")


class BackupInvalid(BadRequest):
    """The backup is incomplete, damaged, or of another version."""


class Contents(Struct, frozen=True, kw_only=True):
    """The list of a backup: *files* are digests of the files of records; *counts* say what is in it."""

    format: int
    swell: str
    created: datetime
    parts: tuple[str, ...]
    files: dict[str, Digest]
    counts: dict[str, int]


class RecordWriter:
    def __init__(self, file: Any) -> None:
        self._file = file
        self.count = 0

    def write(self, record: Struct) -> None:
        encoded = msgspec.msgpack.encode(record)
        self._file.write(_LENGTH.pack(len(encoded)) + encoded)
        self.count += 1


class BackupFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Create the folder, for this user only.

        Raises:
            BadRequest: it exists and is not empty.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(self.path.iterdir()):
            raise BadRequest(f"{self.path} is not empty: a backup needs a new folder")
        (self.path / BLOBS).mkdir(mode=0o700)

    @contextmanager
    def writing(self, part: str) -> Iterator[RecordWriter]:
        """Write the file of records of *part*."""
        descriptor = os.open(self.path / file_name(part), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
            yield RecordWriter(file)

    def records(self, part: str, kind: type[T]) -> Iterator[T]:
        """Yield the records of *part*, one at a time; raises `BackupInvalid`."""
        decoder = msgspec.msgpack.Decoder(kind)
        try:
            with gzip.open(self.path / file_name(part), "rb") as file:
                while header := file.read(_LENGTH.size):
                    (length,) = _LENGTH.unpack(header)
                    if length > MAX_RECORD or len(encoded := file.read(length)) != length:
                        raise BackupInvalid(f"{file_name(part)} is damaged")
                    yield decoder.decode(encoded)
        except (OSError, EOFError, struct.error, msgspec.MsgspecError) as error:
            raise BackupInvalid(f"{file_name(part)} cannot be read: {error}") from error

    async def add(self, pieces: AsyncIterable[bytes]) -> tuple[Digest, int]:
        """Store a content, once; return its digest and size."""
        digest, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=self.path, delete=False) as file:
            try:
                async for piece in pieces:
                    digest.update(piece)
                    file.write(piece)
                    size += len(piece)
                name = Digest(f"sha256:{digest.hexdigest()}")
                file.close()
                target = self.blob(name)
                target.parent.mkdir(mode=0o700, exist_ok=True)
                Path(file.name).rename(target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        return name, size

    def blob(self, digest: Digest) -> Path:
        """The file of the content *digest*."""
        hexadecimal = digest.removeprefix("sha256:")
        return self.path / BLOBS / hexadecimal[:2] / hexadecimal

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """Yield the content *digest* in pieces of 1 MiB."""
        with self.blob(digest).open("rb") as file:
            yield from _pieces(file)

    def finish(self, contents: Contents) -> None:
        """Write the list: from now on the backup is complete."""
        temporary = self.path / f"{LIST}.new"
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(contents)))
        temporary.rename(self.path / LIST)

    def digests(self, parts: Iterable[str]) -> dict[str, Digest]:
        return {file_name(part): digest_of_file(self.path / file_name(part)) for part in parts}

    def contents(self) -> Contents:
        """Read the list; raises `BackupInvalid`, also for a backup of another format."""
        try:
            with (self.path / LIST).open("rb") as file:
                contents = msgspec.json.decode(file.read(MAX_LIST), type=Contents)
        except FileNotFoundError as error:
            raise BackupInvalid(f"{self.path} is no complete backup: it has no {LIST}") from error
        except (OSError, msgspec.MsgspecError) as error:
            raise BackupInvalid(f"{self.path / LIST} cannot be read: {error}") from error
        if contents.format != FORMAT:
            raise BackupInvalid(f"the backup has the format {contents.format}; this version reads {FORMAT}")
        return contents

    def verify(self) -> Contents:
        """Check the digests of all files; raises `BackupInvalid`, which names the damaged file."""
        contents = self.contents()
        for name, digest in contents.files.items():
            if not (self.path / name).is_file() or digest_of_file(self.path / name) != digest:
                raise BackupInvalid(f"{name} is damaged or missing")
        for file in (self.path / BLOBS).glob("*/*"):
            if digest_of_file(file) != f"sha256:{file.name}":
                raise BackupInvalid(f"{file.relative_to(self.path)} is damaged")
        return contents

    def require(self, digest: Digest, size: int) -> Path:
        """Return the file of the content *digest*; raises `BackupInvalid` if it is missing or has another size."""
        path = self.blob(digest)
        if not path.is_file() or path.stat().st_size != size:
            raise BackupInvalid(f"{path.relative_to(self.path)} is damaged or missing")
        return path


def file_name(part: str) -> str:
    return f"{part}.records.gz"


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece
