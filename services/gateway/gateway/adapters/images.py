"""Images, read from the registry-proxy over gRPC, and a cache of the responses in the process."""

import time
from collections.abc import Sequence

import msgspec
from cachetools import LRUCache, TTLCache
from grpc.aio import Channel

from gateway.builds.queries import Resolved
from gateway.domain.grant import Grant
from gateway.pull.pulls import Location
from swell.api.containers import ContainerLayer
from swell.concurrency.single_flight import SingleFlight
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.media_types import served_as
from swell.oci.platform import Platform
from swell.oci.reference import Reference, parse_reference
from swell.registry.principal import PUBLIC, Principal, limited_to
from swell.rpc.channel import call
from swell.rpc.v1 import images_pb2 as pb
from swell.rpc.v1.images_pb2_grpc import ImagesStub

PROXY = "registry proxy"
CALL_SECONDS = 60
RESOLVE_SECONDS = 30
_Resolving = tuple[Principal, str, tuple[Platform, ...]]


class RemoteImages:
    """Each method is one call. A manifest may take 60 s: the registry may be slow, or a layer must be fetched first.

    The registry-proxy ends its own requests earlier, so a silent registry is `UpstreamSlow` and not `Unavailable`.

    With *relayed*, the locations of blobs are for this gateway, which relays them, and not for clients.
    """

    def __init__(self, channel: Channel, *, relayed: bool = False) -> None:
        self._stub = ImagesStub(channel)
        self._relayed = relayed

    async def resolve(
        self, image: Reference, principal: Principal = PUBLIC, platforms: Sequence[Platform] = ()
    ) -> Digest:
        """The current digest of *image*, read as *principal*; within 30 s, or 60 s with *platforms*.

        Raises:
            BadRequest: the image is not available for one of *platforms*.
            ManifestUnknown: the registry does not have the image.
            Denied: *principal* may not read it.
            UpstreamFailed: the registry does not respond.
        """
        request = pb.ResolveImageRequest(image=str(image), principal=principal, platforms=map(str, platforms))
        seconds = CALL_SECONDS if platforms else RESOLVE_SECONDS  # platforms need the manifest and a config as well
        return Digest((await call(PROXY, self._stub.ResolveImage, request, seconds=seconds)).digest)

    async def manifest(self, grant: Grant, reference: str) -> Document:
        """The manifest or index under *reference*, within 60 s."""
        request = pb.GetManifestRequest(pull=_to_proto(grant), reference=reference)
        response = await call(PROXY, self._stub.GetManifest, request, seconds=CALL_SECONDS)
        return Document(served_as(response.media_type), response.content, response.stale)

    async def locate(self, grant: Grant, digest: Digest) -> Location:
        """The location of a blob, within 60 s."""
        request = pb.LocateBlobRequest(pull=_to_proto(grant), digest=digest, relayed=self._relayed)
        response = await call(PROXY, self._stub.LocateBlob, request, seconds=CALL_SECONDS)
        return Location(response.url, response.size, served_as(response.media_type), response.expires)

    async def referrers(self, grant: Grant, digest: Digest) -> bytes:
        request = pb.GetReferrersRequest(pull=_to_proto(grant), digest=digest)
        return (await call(PROXY, self._stub.GetReferrers, request, seconds=CALL_SECONDS)).content

    async def resolved(self, token: str) -> Resolved:
        response = await call(PROXY, self._stub.GetDigests, pb.GetDigestsRequest(token=token), seconds=5)
        return Resolved(response.source or None, response.wave or None)

    async def keep(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        """Store the gzipped tar at the location of *layer*, and verify it; within 60 s."""
        request = pb.KeepLayerRequest(layer=msgspec.json.encode(layer), principal=principal)
        await call(PROXY, self._stub.KeepLayer, request, seconds=CALL_SECONDS)


class CachedImages:
    """A cache of the responses. Under one token a tag is resolved once; the content of a digest never changes.

    Manifests take at most *size* bytes, and locations a quarter of it. A location is cached until a minute before it
    expires, or until the token expires.
    """

    def __init__(self, remote: RemoteImages, size: int) -> None:
        self._remote = remote
        self._documents: LRUCache[tuple[str, str], Document] = LRUCache(size, getsizeof=_weight)
        self._locations: LRUCache[tuple[str, str], Location] = LRUCache(size // 4, getsizeof=_weight)
        self._resolved: TTLCache[_Resolving, Digest] = TTLCache(10_000, ttl=20)
        self._resolving: SingleFlight[_Resolving, Digest] = SingleFlight()
        self._reading: SingleFlight[tuple[str, str], Document] = SingleFlight(kept=False)
        self._locating: SingleFlight[tuple[str, str], Location] = SingleFlight(kept=False)

    async def resolve(
        self, image: Reference, principal: Principal = PUBLIC, platforms: Sequence[Platform] = ()
    ) -> Digest:
        key = principal, str(image), tuple(platforms)
        if (digest := self._resolved.get(key)) is None:
            resolving = self._resolving.run(key, lambda: self._remote.resolve(image, principal, platforms))
            digest = self._resolved[key] = await resolving
        return digest

    async def keep(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        await self._remote.keep(layer, principal)

    async def manifest(self, grant: Grant, reference: str) -> Document:
        key = (grant.token, reference)
        if (document := self._documents.get(key)) is None:
            document = await self._reading.run(key, lambda: self._remote.manifest(grant, reference))
            if _weight(document) <= self._documents.maxsize:
                self._documents[key] = document
        return document

    async def locate(self, grant: Grant, digest: Digest) -> Location:
        key = (grant.token, str(digest))
        location = self._locations.get(key)
        if location is None or location.expires < min(time.time() + 60, grant.expires.timestamp()):
            location = await self._locating.run(key, lambda: self._remote.locate(grant, digest))
            if _weight(location) <= self._locations.maxsize:
                self._locations[key] = location
        return location

    async def referrers(self, grant: Grant, digest: Digest) -> bytes:
        """Not cached: a new signature must be visible."""
        return await self._remote.referrers(grant, digest)


def _weight(cached: Document | Location) -> int:
    """Size in bytes, including about 500 for the objects."""
    size = len(cached.content) if isinstance(cached, Document) else len(cached.url) + len(cached.media_type)
    return size + 500


def _to_proto(grant: Grant) -> pb.Pull:
    config = grant.container_config
    return pb.Pull(
        token=grant.token,
        image=grant.image,
        platform=grant.platforms[0],
        platforms=grant.platforms,
        container_config=msgspec.json.encode(config) if config else b"",
        expires=int(grant.expires.timestamp()),
        principal=_principal(grant),
    )


def _principal(grant: Grant) -> Principal:
    """The principal that reads the image of *grant*.

    The image of a build was pushed by this server, so the operator's credentials may read it. Grants of older versions
    do not contain that.
    """
    if grant.build_id is None:
        return grant.principal
    return limited_to([parse_reference(grant.image).name], grant.principal)
