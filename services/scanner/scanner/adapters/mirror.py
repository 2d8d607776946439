"""Reads a mirror of grype's database over HTTP.

Source: grype, "Vulnerability database", https://github.com/anchore/grype/blob/main/grype/db/v6/distribution/latest.go
"""

import re
from datetime import datetime
from pathlib import Path

import aiohttp
import msgspec
from msgspec import Struct
from yarl import URL

from scanner.database_update import Listing
from swell.errors import UpstreamFailed
from swell.net.outbound import follow, pieces, read
from swell.oci.digest import Digest, parse_digest
from swell.registry.verifier import Verifier

_LISTING_BYTES = 1 << 20
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class _Latest(Struct, rename="camel"):
    built: datetime
    path: str
    checksum: str


class HttpMirror:
    """The mirror at *url*: `<url>/v6/latest.json`; an archive has at most *limit* bytes."""

    def __init__(self, session: aiohttp.ClientSession, url: str, limit: int) -> None:
        self._session = session
        self._listing = URL(url.rstrip("/")) / "v6/latest.json"
        self._limit = limit

    async def latest(self) -> Listing:
        """See `Mirror.latest`.

        Raises:
            UpstreamFailed: the mirror fails, or the listing cannot be read or names a file elsewhere.
        """
        async with await follow(self._session, "GET", self._listing, {}) as response:
            _check(response, self._listing)
            content = await read(response, _LISTING_BYTES)
        try:
            latest = msgspec.json.decode(content, type=_Latest)
        except msgspec.MsgspecError as error:
            raise UpstreamFailed(f"the listing {self._listing} cannot be read: {error}") from error
        if not _PATH.fullmatch(latest.path) or not latest.checksum.startswith("sha256:"):
            raise UpstreamFailed(f"the listing {self._listing} has no archive beside it, or no sha256 checksum")
        parse_digest(latest.checksum)
        url = self._listing.parent.joinpath(latest.path)
        return Listing(url=str(url), checksum=latest.checksum, built=latest.built)

    async def download(self, listing: Listing, path: Path) -> None:
        """See `Mirror.download`; raises `UpstreamFailed`."""
        url = URL(listing.url)
        async with await follow(self._session, "GET", url, {}) as response:
            _check(response, url)
            verifier, size = Verifier(Digest(listing.checksum)), 0
            with path.open("wb") as file:
                async for piece in pieces(response):
                    size += len(piece)
                    if size > self._limit:
                        raise UpstreamFailed(f"{url} has more than {self._limit} bytes")
                    verifier.update(piece)
                    file.write(piece)
            verifier.finish()


def _check(response: aiohttp.ClientResponse, url: URL) -> None:
    if response.status != 200:
        response.release()
        raise UpstreamFailed(f"{url} answers {response.status}")
