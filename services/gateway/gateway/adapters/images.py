"""Images as the registry-proxy knows them, asked over gRPC, and the process's own memory of the answers."""

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
_Resolving = tuple[Principal, str, tuple[Platform, ...]]


class RemoteImages:
    """Every question is one call. A manifest may take 60 s: a registry far away, a layer to be fetched first.

    Blobs that are *relayed* are read by us, not by whoever pulls.
    """

    def __init__(self, channel: Channel, *, relayed: bool = False) -> None:
        self._stub = ImagesStub(channel)
        self._relayed = relayed

    async def resolve(
        self, image: Reference, principal: Principal = PUBLIC, platforms: Sequence[Platform] = ()
    ) -> Digest:
        """The digest under *image*'s tag now, as *principal* may read it.

        Raises:
            BadRequest: the image is not made for one of *platforms*.
            ManifestUnknown, Denied, UpstreamFailed: the registry has none, shows none, answers nothing.
        """
        request = pb.ResolveImageRequest(image=str(image), principal=principal, platforms=map(str, platforms))
        seconds = 60 if platforms else 30  # the manifest and a config are read for them
        return Digest((await call(PROXY, self._stub.ResolveImage, request, seconds=seconds)).digest)

    async def manifest(self, grant: Grant, reference: str) -> Document:
        request = pb.GetManifestRequest(pull=_to_proto(grant), reference=reference)
        answer = await call(PROXY, self._stub.GetManifest, request, seconds=60)
        return Document(served_as(answer.media_type), answer.content, answer.stale)

    async def locate(self, grant: Grant, digest: Digest) -> Location:
        request = pb.LocateBlobRequest(pull=_to_proto(grant), digest=digest, relayed=self._relayed)
        answer = await call(PROXY, self._stub.LocateBlob, request, seconds=60)
        return Location(answer.url, answer.size, served_as(answer.media_type), answer.expires)

    async def referrers(self, grant: Grant, digest: Digest) -> bytes:
        request = pb.GetReferrersRequest(pull=_to_proto(grant), digest=digest)
        return (await call(PROXY, self._stub.GetReferrers, request, seconds=60)).content

    async def resolved(self, token: str) -> Resolved:
        answer = await call(PROXY, self._stub.GetDigests, pb.GetDigestsRequest(token=token), seconds=5)
        return Resolved(answer.source or None, answer.wave or None)

    async def keep(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        """Have the gzipped tar at *layer*'s location in the store, verified, within 60 s."""
        request = pb.KeepLayerRequest(layer=msgspec.json.encode(layer), principal=principal)
        await call(PROXY, self._stub.KeepLayer, request, seconds=60)


class CachedImages:
    """Answers kept in process: under one token a tag is resolved once and a digest never changes.

    *size* bounds the bytes of manifests, and a quarter of it those of locations, which are kept until a minute before
    they expire, or as long as the token.
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
        if (known := self._resolved.get(key)) is None:
            resolving = self._resolving.run(key, lambda: self._remote.resolve(image, principal, platforms))
            known = self._resolved[key] = await resolving
        return known

    async def keep(self, layer: ContainerLayer, principal: Principal = PUBLIC) -> None:
        await self._remote.keep(layer, principal)

    async def manifest(self, grant: Grant, reference: str) -> Document:
        key = (grant.token, reference)
        if (known := self._documents.get(key)) is None:
            known = await self._reading.run(key, lambda: self._remote.manifest(grant, reference))
            if _weight(known) <= self._documents.maxsize:
                self._documents[key] = known
        return known

    async def locate(self, grant: Grant, digest: Digest) -> Location:
        key = (grant.token, str(digest))
        known = self._locations.get(key)
        if known is None or known.expires < min(time.time() + 60, grant.expires.timestamp()):
            known = await self._locating.run(key, lambda: self._remote.locate(grant, digest))
            if _weight(known) <= self._locations.maxsize:
                self._locations[key] = known
        return known

    async def referrers(self, grant: Grant, digest: Digest) -> bytes:
        """Asked for each time: a signature may have come since."""
        return await self._remote.referrers(grant, digest)


def _weight(kept: Document | Location) -> int:
    """Bytes, with the objects around them."""
    size = len(kept.content) if isinstance(kept, Document) else len(kept.url) + len(kept.media_type)
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
    """Who reads the image of *grant*. That of a build was pushed by this server; older grants do not say so."""
    if grant.build_id is None:
        return grant.principal
    return limited_to([parse_reference(grant.image).name], grant.principal)
