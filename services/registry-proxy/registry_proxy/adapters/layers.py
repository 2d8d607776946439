"""Layers that are added by URL: fetched once, verified, and kept in S3 from then on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import aiohttp

from registry_proxy.adapters.upstream import RegistryUpstream
from swell.addresses import parse_url
from swell.api.containers import ContainerLayer
from swell.errors import BadRequest, BlobUnknown, DigestInvalid, TooLarge
from swell.flights import Flights
from swell.layers import LayerMeter
from swell.log import log
from swell.oci.digest import Digest, parse_digest
from swell.oci.reference import BLOB_SCHEME, parse_blob_location
from swell.outbound import follow, pieces, translated
from swell.registry.answers import failure
from swell.registry.principal import PUBLIC, Principal
from swell.store.blobs import Blobs

DEADLINE = timedelta(minutes=15)
AT_ONCE = 4


class Layers:
    """Keeps the layers that container configs name. At most four are fetched at once."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        upstream: RegistryUpstream,
        blobs: Blobs,
        limit: int = 2 << 30,
        tar_limit: int = 16 << 30,
    ) -> None:
        """*limit* is of the gzip, *tar_limit* of what it inflates to, in bytes."""
        self._session = session
        self._upstream = upstream
        self._blobs = blobs
        self._limit = limit
        self._tar_limit = tar_limit
        self._fetching: Flights[tuple[ContainerLayer, Principal], None] = Flights()
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def ensure(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        """Have *layer* in the store, under its gzip digest; *principal* reads what is in a registry.

        A layer that is kept already is not fetched again; its tar digest was checked for whoever brought it.

        Raises:
            BadRequest: the layer does not say its digests and size, or its location holds no gzipped tar.
            DigestInvalid: the content is not what the layer says.
            TooLarge: it is larger than this server takes.
            BlobUnknown: a `data:` layer that is not kept (any more), or a location that holds nothing.
            UpstreamFailed, AddressForbidden, Unavailable: as in `swell.outbound` and `swell.store`.
        """
        digest = _complete(layer)
        size = await self._blobs.size(digest)
        if size is None and not layer.location.startswith(("http://", "https://", BLOB_SCHEME)):
            raise BlobUnknown(f"the layer {digest} is not kept here any more: submit it again")
        if size is None:
            await self._fetching.join((layer, principal), lambda: self._fetch(digest, layer, principal))
        elif size != layer.gzip_size:
            raise DigestInvalid(f"the layer {digest} has {size} bytes, not {layer.gzip_size} as the request says")

    async def _fetch(self, digest: Digest, layer: ContainerLayer, principal: Principal) -> None:
        with TemporaryDirectory(prefix="swell-layer-") as directory:
            path = Path(directory) / "layer"
            async with self._slots, asyncio.timeout(DEADLINE.total_seconds()):
                async with self._open(layer, principal) as body:
                    await self._download(body, path, layer)
                await self._blobs.put_file(digest, path)
        log.info("layer kept", digest=digest, size=layer.gzip_size, location=layer.location[:200])

    @asynccontextmanager
    async def _open(self, layer: ContainerLayer, principal: Principal) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes at *layer*'s location: a web address, or a blob in a registry."""
        if layer.location.startswith(BLOB_SCHEME):
            async with self._upstream.acting_for(principal).read_blob(parse_blob_location(layer.location)) as body:
                yield body
            return
        url = parse_url(layer.location)
        with translated(url):
            async with await follow(self._session, "GET", url, {"Accept": "*/*"}) as response:
                if response.status != 200:
                    raise failure(response.status, response.headers, f"the layer at {url.authority}", BlobUnknown)
                yield pieces(response)

    async def _download(self, body: AsyncIterator[bytes], path: Path, layer: ContainerLayer) -> None:
        meter, left = LayerMeter(self._tar_limit), self._limit
        with path.open("wb") as file:
            async for piece in body:
                left -= len(piece)
                if left < 0:
                    raise TooLarge(f"the layer {layer.gzip_digest} has more than {self._limit} bytes")
                await asyncio.to_thread(_take, piece, meter, file)
        await asyncio.to_thread(meter.finish, layer)


def _take(piece: bytes, meter: LayerMeter, file: BinaryIO) -> None:
    meter.update(piece)
    file.write(piece)


def _complete(layer: ContainerLayer) -> Digest:
    """The gzip digest of a layer that says all of what it is: the manifest needs it before the layer is here."""
    if not (layer.gzip_digest and layer.gzip_size and layer.tar_digest):
        raise BadRequest("A layer given by URL must have gzipDigest, gzipSize and tarDigest")
    return parse_digest(layer.gzip_digest)
