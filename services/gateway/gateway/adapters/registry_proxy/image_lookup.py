"""Images and layers that container requests name, read by the registry-proxy over gRPC."""

import time
from collections.abc import Callable, Sequence

import msgspec
from cachetools import TTLCache
from grpc.aio import Channel

from gateway.adapters.registry_proxy.images import CALL_SECONDS, PROXY
from gateway.builds.queries import Resolved
from swell.api.containers import ContainerLayer
from swell.concurrency.cached_calls import CachedCalls
from swell.oci.digest import Digest
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.registry.credentials.principal import PUBLIC, Principal
from swell.rpc.channel import call
from swell.rpc.v1 import images_pb2 as pb
from swell.rpc.v1.images_pb2_grpc import ImagesStub

RESOLVE_SECONDS = 30
COMPLETE_SECONDS = 1.0  # how long a removed part of an image of a build may stay unnoticed
_Key = tuple[Principal, str, tuple[Platform, ...]]


class RemoteLookup:
    """Each method is one call. The registry-proxy ends its own requests earlier, as for `RemoteImages`."""

    def __init__(self, channel: Channel) -> None:
        self._stub = ImagesStub(channel)

    async def resolve(
        self, image: Reference, principal: Principal = PUBLIC, platforms: Sequence[Platform] = ()
    ) -> Digest:
        """Return the current digest of *image*, read as *principal*; within 30 s, or 60 s with *platforms*.

        Raises:
            BadRequest: the image is not available for one of *platforms*.
            ManifestUnknown: the registry does not have the image.
            Denied: *principal* may not read it.
            UpstreamFailed: the registry does not respond.
        """
        request = pb.ResolveImageRequest(image=str(image), principal=principal, platforms=map(str, platforms))
        seconds = CALL_SECONDS if platforms else RESOLVE_SECONDS  # platforms need the manifest and a config as well
        return Digest((await call(PROXY, self._stub.ResolveImage, request, seconds=seconds)).digest)

    async def resolve_now(self, image: Reference, principal: Principal) -> Digest:
        """Return the digest that the registry reports for *image* at this moment, within 30 s; raises as `resolve`."""
        request = pb.ResolveImageRequest(image=str(image), principal=principal, fresh=True)
        return Digest((await call(PROXY, self._stub.ResolveImage, request, seconds=RESOLVE_SECONDS)).digest)

    async def resolve_blob(self, blob: Reference, principal: Principal) -> Digest:
        """Return the digest in *blob*, if its repository shows that blob to *principal*; within 30 s.

        Raises:
            BlobUnknown, Denied, UpstreamFailed: it does not, or does not respond.
        """
        request = pb.ResolveImageRequest(image=str(blob), principal=principal, blob=True)
        return Digest((await call(PROXY, self._stub.ResolveImage, request, seconds=RESOLVE_SECONDS)).digest)

    async def resolve_complete(self, image: Reference, principal: Principal = PUBLIC) -> Digest:
        """Return the digest that *image* has in its registry now, if all of it is there; within 60 s.

        Raises:
            ManifestUnknown: the registry does not have the image, or a manifest or blob of it.
            Denied, UpstreamFailed: as for `resolve`.
        """
        request = pb.ResolveImageRequest(image=str(image), principal=principal, complete=True)
        return Digest((await call(PROXY, self._stub.ResolveImage, request, seconds=CALL_SECONDS)).digest)

    async def resolved(self, token: str) -> Resolved:
        """Return the digests of the image of *token*, within 5 s; they are None before its first pull."""
        response = await call(PROXY, self._stub.GetDigests, pb.GetDigestsRequest(token=token), seconds=5)
        return Resolved(response.source or None, response.wave or None)

    async def keep(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        """Store the gzipped tar at the location of *layer*, and verify it; within 60 s."""
        request = pb.KeepLayerRequest(layer=msgspec.json.encode(layer), principal=principal)
        await call(PROXY, self._stub.KeepLayer, request, seconds=CALL_SECONDS)


class CachedLookup:
    """Resolves each image once in 20 s for a principal and its platforms, and complete images once a second."""

    def __init__(self, remote: RemoteLookup, now: Callable[[], float] = time.monotonic) -> None:
        self._remote = remote
        resolved: TTLCache[_Key, Digest] = TTLCache(10_000, 20, now)
        complete: TTLCache[tuple[Principal, str], Digest] = TTLCache(10_000, COMPLETE_SECONDS, now)
        self._resolved = CachedCalls(resolved)
        self._complete = CachedCalls(complete)

    async def resolve(
        self, image: Reference, principal: Principal = PUBLIC, platforms: Sequence[Platform] = ()
    ) -> Digest:
        key = principal, str(image), tuple(platforms)
        if (digest := self._resolved.get(key)) is None:
            digest = await self._resolved.call(key, lambda: self._remote.resolve(image, principal, platforms))
        return digest

    async def resolve_blob(self, blob: Reference, principal: Principal) -> Digest:
        """As `RemoteLookup.resolve_blob`; no result is stored."""
        return await self._remote.resolve_blob(blob, principal)

    async def keep(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        await self._remote.keep(layer, principal)

    async def resolve_complete(self, image: Reference, principal: Principal = PUBLIC) -> Digest:
        """As `RemoteLookup.resolve_complete`; the callers within one second share one call.

        Each call asks the registry for every blob, so clients that repeat a request must not repeat that.
        """
        key = principal, str(image)
        if (digest := self._complete.get(key)) is None:
            digest = await self._complete.call(key, lambda: self._remote.resolve_complete(image, principal))
        return digest
