"""Layers that requests add by URL: fetched, verified, and stored in S3.

Knowing the digests of a stored layer grants no access. A stored layer serves a request only if the request contained
the bytes, or if they were fetched from the request's own location within the last hour.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import aiohttp

from registry_proxy.adapters.upstream import RegistryUpstream
from registry_proxy.deliver.access import Proofs
from registry_proxy.slots import TransferSlots
from swell.api.containers import ContainerLayer
from swell.archives.layers import LayerMeter
from swell.concurrency.single_flight import SingleFlight
from swell.errors import BadRequest, BlobUnknown, DigestInvalid, TooLarge, TooManyRequests, UpstreamFailed
from swell.log import log
from swell.net.addresses import parse_url
from swell.net.outbound import Pace, follow, pieces, translated
from swell.oci.digest import Digest, parse_digest
from swell.oci.reference import BLOB_SCHEME, parse_blob_location
from swell.registry.credentials.principal import PUBLIC, Principal
from swell.registry.responses import failure
from swell.store.blobs import Blobs

DEADLINE = timedelta(minutes=15)
CONCURRENT_FETCHES = 8
PER_HOST = 2  # so that a slow server delays only its own layers
WAIT_SECONDS = 50.0  # for a slot
PROVEN_SECONDS = 3600.0
STALE_SECONDS = 24 * 3600.0  # while the location's server fails, an earlier fetch is valid so long
PACE = Pace(silence=15.0, slowest=16 << 10, window=20.0)


class Layers:
    """Store the layers that container configs name. At most eight fetches run at once, two per host."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        upstream: RegistryUpstream,
        blobs: Blobs,
        proofs: Proofs,
        limit: int = 2 << 30,
        tar_limit: int = 16 << 30,
        now: Callable[[], float] = time.time,
    ) -> None:
        """*limit* is for the compressed layer and *tar_limit* for its tar, in bytes; *now* gives Unix seconds."""
        self._session = session
        self._upstream = upstream
        self._blobs = blobs
        self._limit = limit
        self._tar_limit = tar_limit
        self._fetching: SingleFlight[tuple[ContainerLayer, Principal], None] = SingleFlight()
        self._proofs = proofs
        self._now = now
        self._slots = TransferSlots(CONCURRENT_FETCHES, PER_HOST, WAIT_SECONDS)

    async def ensure(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        """Store *layer* under its gzip digest; registries are read with the credentials of *principal*.

        Content that came with a request is stored already. A location is fetched again unless it was fetched within
        the last hour for the same digests and principal: the location is untrusted, even if the layer is stored.

        Raises:
            BadRequest: the layer has no digests or size, or its location has no gzipped tar.
            DigestInvalid: the content does not match the layer's digests or size.
            TooLarge: the layer exceeds this server's limit.
            BlobUnknown: a `data:` layer is not stored (any more), or its location has no content.
            UpstreamFailed, AddressForbidden, Unavailable: as in `swell.net.outbound` and `swell.store`.
        """
        digest = _gzip_digest(layer)
        size = await self._blobs.size(digest)
        if not layer.location.startswith(("http://", "https://", BLOB_SCHEME)):
            if size is None:
                raise BlobUnknown(f"the layer {digest} is no longer stored here: submit it again")
            _check_size(layer, digest, size)
            return
        key = _key(layer, principal)
        proven = await self._proofs.get(key)
        if size is not None and proven is not None and self._now() - proven <= PROVEN_SECONDS:
            return
        try:
            await self._fetching.run((layer, principal), lambda: self._fetch(digest, layer, principal, size))
        except (UpstreamFailed, TooManyRequests) as error:
            if size is None or proven is None or self._now() - proven > STALE_SECONDS:
                raise
            log.warning("layer served from an earlier fetch", digest=digest, error=str(error))
        else:
            await self._proofs.put(key, self._now())

    async def _fetch(self, digest: Digest, layer: ContainerLayer, principal: Principal, size: int | None) -> None:
        with TemporaryDirectory(prefix="swell-layer-") as directory:
            path = Path(directory) / "layer"
            async with self._slots.take(_host(layer.location)), asyncio.timeout(DEADLINE.total_seconds()):
                async with self._open(layer, principal) as body:
                    await self._download(self._slots.paced(body), path, layer)
                if size is None:
                    await self._blobs.put_file(digest, path)
        log.info("layer fetched", digest=digest, size=layer.gzip_size, location=layer.location[:200])

    @asynccontextmanager
    async def _open(self, layer: ContainerLayer, principal: Principal) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open *layer*'s location: a web address, or a blob in a registry."""
        if layer.location.startswith(BLOB_SCHEME):
            async with self._upstream.acting_for(principal).read_blob(parse_blob_location(layer.location)) as body:
                yield body
            return
        url = parse_url(layer.location)
        with translated(url):
            async with await follow(self._session, "GET", url, {"Accept": "*/*"}) as response:
                if response.status != 200:
                    raise failure(response.status, response.headers, f"the layer at {url.authority}", BlobUnknown)
                yield pieces(response, PACE)

    async def _download(self, body: AsyncIterator[bytes], path: Path, layer: ContainerLayer) -> None:
        meter, remaining = LayerMeter(self._tar_limit), self._limit
        with path.open("wb") as file:
            async for piece in body:
                remaining -= len(piece)
                if remaining < 0:
                    raise TooLarge(f"the layer {layer.gzip_digest} has more than {self._limit} bytes")
                await asyncio.to_thread(_write, piece, meter, file)
        await asyncio.to_thread(meter.finish, layer)


def _write(piece: bytes, meter: LayerMeter, file: BinaryIO) -> None:
    meter.update(piece)
    file.write(piece)


def _check_size(layer: ContainerLayer, digest: Digest, size: int) -> None:
    if size != layer.gzip_size:
        raise DigestInvalid(f"the layer {digest} has {size} bytes; the request says {layer.gzip_size}")


def _key(layer: ContainerLayer, principal: Principal) -> str:
    """Return a fixed-length key for principal, location and digests; it hides the location, which may be signed."""
    fields = (principal, layer.location, layer.gzip_digest, layer.gzip_size, layer.tar_digest)
    return f"layer:{hashlib.sha256(repr(fields).encode()).hexdigest()[:40]}"


def _host(location: str) -> str:
    scheme, _, rest = location.partition("://")
    return rest.partition("/")[0] if scheme == BLOB_SCHEME.partition(":")[0] else parse_url(location).authority


def _gzip_digest(layer: ContainerLayer) -> Digest:
    """Return the gzip digest of a layer with all its digests: the manifest needs them before the layer is fetched."""
    if not (layer.gzip_digest and layer.gzip_size and layer.tar_digest):
        raise BadRequest("A layer given by URL must have gzipDigest, gzipSize and tarDigest")
    return parse_digest(layer.gzip_digest)
