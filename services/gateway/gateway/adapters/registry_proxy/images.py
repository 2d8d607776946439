"""The images of tokens, read from the registry-proxy over gRPC, and a cache of the responses in the process."""

import time

import msgspec
from cachetools import LRUCache
from grpc.aio import Channel

from gateway.domain.grant import Grant, pull_principal
from gateway.domain.location import Location
from swell.concurrency.cached_calls import CachedCalls
from swell.observe.instruments import CacheCounter
from swell.observe.spans import follow
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.media_types import served_as
from swell.oci.referrers_tag import parse_referrers_tag
from swell.rpc.channel import call
from swell.rpc.v1 import images_pb2 as pb
from swell.rpc.v1.images_pb2_grpc import ImagesStub

PROXY = "registry proxy"
CALL_SECONDS = 60
_MANIFESTS, _LOCATIONS = CacheCounter("manifests"), CacheCounter("locations")


class RemoteImages:
    """Each method is one call. A manifest may take 60 s: the registry may be slow, or a layer must be fetched first.

    The registry-proxy ends its own requests earlier, so a silent registry is `UpstreamSlow` and not `Unavailable`.

    With *relayed*, the locations of blobs are for this gateway, which relays them, and not for clients.
    """

    def __init__(self, channel: Channel, *, relayed: bool = False) -> None:
        self._stub = ImagesStub(channel)
        self._relayed = relayed

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


class CachedImages:
    """A cache of the responses. Under one token a tag is resolved once; the content of a digest never changes.

    Manifests take at most *size* bytes, and locations a quarter of it. A location is cached until a minute before it
    expires, or until the token expires.
    """

    def __init__(self, remote: RemoteImages, size: int) -> None:
        self._remote = remote
        documents: LRUCache[tuple[str, str], Document] = LRUCache(size, getsizeof=_weight)
        locations: LRUCache[tuple[str, str], Location] = LRUCache(size // 4, getsizeof=_weight)
        self._documents = CachedCalls(documents, _MANIFESTS, kept=False)
        self._locations = CachedCalls(locations, _LOCATIONS, kept=False)

    async def manifest(self, grant: Grant, reference: str) -> Document:
        if parse_referrers_tag(reference):
            return await self._remote.manifest(grant, reference)  # not cached: a new signature must be visible
        key = (grant.token, reference)
        if (document := self._documents.get(key)) is None:
            follow(grant.traceparent)
            document = await self._documents.call(key, lambda: self._remote.manifest(grant, reference))
        return document

    async def locate(self, grant: Grant, digest: Digest) -> Location:
        def is_usable(location: Location) -> bool:
            return location.expires >= min(time.time() + 60, grant.expires.timestamp())

        key = (grant.token, str(digest))
        if (location := self._locations.get(key, is_usable)) is None:
            location = await self._locations.call(key, lambda: self._remote.locate(grant, digest))
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
        principal=pull_principal(grant),
        is_built=grant.build_id is not None,
    )
