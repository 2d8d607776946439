"""Read channels: from remote servers through the outbound guard, or from folders that the operator allows."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import aiohttp
from msgspec import Struct
from yarl import URL

from swell.errors import AddressForbidden, NotFound, UpstreamFailed
from swell.net.outbound import PIECE, follow, pieces

_PAUSES = (0.2, 1.0)
_ABSENT = frozenset({403, 404, 410})


class Fetched(Struct, frozen=True):
    """A fetched file: its `sha256`, and the server's `etag` of this version, empty if it sends none."""

    sha256: str
    size: int
    etag: str = ""


class Sources:
    """Reads URLs. All methods raise `UpstreamFailed` and `AddressForbidden` as `swell.net.outbound` does."""

    def __init__(self, session: aiohttp.ClientSession, local: Path | None = None) -> None:
        """`file://` URLs are read below *local*; without *local* they are refused."""
        self._session = session
        self._local = local

    async def fetch(self, url: str, file: IO[bytes], *, limit: int, known: str = "") -> Fetched | None:
        """Write the content of *url*, at most *limit* bytes, to *file*; None if it still has the ETag *known*.

        Raises:
            NotFound: there is nothing.
        """
        for pause in _PAUSES:
            try:
                return await self._fetch(url, file, limit, known)
            except UpstreamFailed:
                if file.tell() > limit:
                    raise
                await asyncio.sleep(pause)
                file.seek(0)
                file.truncate()
        return await self._fetch(url, file, limit, known)

    async def _fetch(self, url: str, file: IO[bytes], limit: int, known: str) -> Fetched | None:
        async with self._opened(url, {"If-None-Match": known} if known else {}) as (status, etag, content):
            if status == 304:
                return None
            hashed, size = hashlib.sha256(), 0
            async for piece in content:
                hashed.update(piece)
                size += await asyncio.to_thread(file.write, piece)
                if size > limit:
                    raise UpstreamFailed(f"{URL(url).authority} has more than {limit} bytes at {url}")
            file.flush()
            return Fetched(hashed.hexdigest(), size, etag)

    @asynccontextmanager
    async def _opened(
        self, url: str, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, str, AsyncIterator[bytes]]]:
        address = URL(url)
        if address.scheme == "file":
            with self._open_local(address).open("rb") as file:
                yield 200, "", _read(file)
            return
        async with await follow(self._session, "GET", address, headers) as response:
            if response.status in _ABSENT:
                raise NotFound(f"{url} does not exist ({response.status})")
            if response.status not in {200, 304}:
                raise UpstreamFailed(f"{address.authority} answers {response.status} for {url}")
            yield response.status, response.headers.get("ETag", ""), pieces(response)

    def _open_local(self, address: URL) -> Path:
        if self._local is None:
            raise AddressForbidden("this server reads no channels from its own disk")
        path = Path(address.path).resolve()
        if address.host or not path.is_relative_to(self._local.resolve()):
            raise AddressForbidden("this server reads channels from the folder of its operator only")
        if not path.is_file():
            raise NotFound(f"{address} does not exist")
        return path


async def _read(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, PIECE):
        yield piece
