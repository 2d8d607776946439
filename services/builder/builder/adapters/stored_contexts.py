"""Build contexts: downloaded from the object store to the local disk."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from swell.oci.digest import Digest
from swell.store.blobs import Blobs


class StoredContexts:
    def __init__(self, blobs: Blobs, folder: Path) -> None:
        self._blobs = blobs
        self._folder = folder

    @asynccontextmanager
    async def fetch(self, digest: Digest) -> AsyncIterator[Path]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with NamedTemporaryFile(dir=self._folder) as file:
            async with self._blobs.open(digest) as pieces:
                async for piece in pieces:
                    file.write(piece)
            file.flush()
            yield Path(file.name)
