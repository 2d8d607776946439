"""What the records of Redis refer to: digests of objects, and images. A file holds them, so memory stays bounded."""

import re
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from tempfile import NamedTemporaryFile

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from swell.backup import state
from swell.backup.state import StateRecord
from swell.store import keys

_DIGEST = re.compile(rb"sha256[:/]([0-9a-f]{64})")
_GRANT, _LATEST = keys.grant("").encode(), keys.latest_build("").encode()


class _Granted(Struct):
    image: str = ""


class References:
    """A digest counts as used when any record has it, wherever: what a newer version stores counts, too."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path)
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("CREATE TABLE digests (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("CREATE TABLE images (name TEXT PRIMARY KEY) WITHOUT ROWID")

    def close(self) -> None:
        self._database.close()

    def write(self, record: StateRecord) -> None:
        """Add what *record* refers to."""
        found = {bytes.fromhex(each.decode()) for value in (record.key, *record.values) for each in _digests(value)}
        self._database.executemany("INSERT OR IGNORE INTO digests VALUES (?)", [(each,) for each in found])
        if record.key.startswith(_LATEST):
            self._add_image(record.key.removeprefix(_LATEST).decode("utf-8", "replace"))
        elif record.key.startswith(_GRANT) and record.values:
            try:
                self._add_image(msgspec.json.decode(record.values[0], type=_Granted).image)
            except msgspec.MsgspecError:
                return

    def _add_image(self, name: str) -> None:
        """Add the image by its tag, and by its digest if *name* has one: a scanned image is granted by its digest."""
        tagged, _, digest = name.removeprefix("oras://").partition("@")
        repository, colon, tag = tagged.rpartition(":")
        names = [tagged] + ([f"{repository if colon and '/' not in tag else tagged}@{digest}"] if digest else [])
        self._database.executemany("INSERT OR IGNORE INTO images VALUES (?)", [(each,) for each in names])

    def has_digest(self, hexadecimal: str) -> bool:
        query = "SELECT 1 FROM digests WHERE digest = ?"
        return self._database.execute(query, (bytes.fromhex(hexadecimal),)).fetchone() is not None

    def has_image(self, name: str) -> bool:
        """Whether a build or a token has the image *name*: a repository with a tag, or with `@` and a digest."""
        return self._database.execute("SELECT 1 FROM images WHERE name = ?", (name,)).fetchone() is not None


def _digests(value: bytes) -> Iterable[bytes]:
    return (match[1] for match in _DIGEST.finditer(value))


@asynccontextmanager
async def references(redis: Redis) -> AsyncIterator[References]:
    """Read the references of all records into a temporary file, which exists during the block.

    Raises:
        Unavailable: Redis does not answer.
    """
    with NamedTemporaryFile(prefix="swell-references-") as file:
        found = References(file.name)
        try:
            await state.dump(redis, found)
            yield found
        finally:
            found.close()
