"""The gRPC service `swell.rpc.v1.Images`: the gateway's requests for images."""

from datetime import UTC, datetime

import msgspec

from registry_proxy.deliver.links import Links
from registry_proxy.image_tree.resolve import ImageResolver
from registry_proxy.image_tree.tree import Pull
from registry_proxy.pull import Pulls
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.oci.digest import parse_digest
from swell.oci.platform import parse_platform
from swell.oci.reference import parse_reference
from swell.registry.credentials.principal import PUBLIC, Principal
from swell.rpc.server import answers
from swell.rpc.v1 import images_pb2 as pb
from swell.rpc.v1.images_pb2_grpc import ImagesServicer


class ImagesHandler(ImagesServicer):
    """Decodes requests, calls *pulls*, *links* and *resolver*, and encodes their results."""

    def __init__(self, pulls: Pulls, links: Links, resolver: ImageResolver) -> None:
        self._pulls = pulls
        self._links = links
        self._resolver = resolver

    @answers
    async def ResolveImage(self, request: pb.ResolveImageRequest) -> pb.ResolveImageResponse:
        platforms = tuple(map(parse_platform, request.platforms))
        image, principal = parse_reference(request.image), _principal(request)
        if request.blob:
            return pb.ResolveImageResponse(digest=await self._resolver.resolve_blob(image, principal))
        if request.fresh:
            return pb.ResolveImageResponse(digest=await self._resolver.resolve_now(image, principal))
        digest = await self._resolver.resolve(image, principal, platforms, complete=request.complete)
        return pb.ResolveImageResponse(digest=digest)

    @answers
    async def GetManifest(self, request: pb.GetManifestRequest) -> pb.GetManifestResponse:
        document = await self._pulls.manifest(from_proto(request.pull), request.reference)
        return pb.GetManifestResponse(media_type=document.media_type, content=document.content, stale=document.stale)

    @answers
    async def GetDigests(self, request: pb.GetDigestsRequest) -> pb.GetDigestsResponse:
        digests = await self._pulls.digests(request.token)
        return pb.GetDigestsResponse(source=digests.source, wave=digests.wave) if digests else pb.GetDigestsResponse()

    @answers
    async def LocateBlob(self, request: pb.LocateBlobRequest) -> pb.LocateBlobResponse:
        pull = from_proto(request.pull)
        located = await self._pulls.locate(pull, parse_digest(request.digest))
        blob = await self._links.create(pull, located, relayed=request.relayed)
        return pb.LocateBlobResponse(url=blob.url, size=blob.size, media_type=blob.media_type, expires=blob.expires)

    @answers
    async def GetReferrers(self, request: pb.GetReferrersRequest) -> pb.GetReferrersResponse:
        index = await self._pulls.referrers(from_proto(request.pull), parse_digest(request.digest))
        return pb.GetReferrersResponse(content=index.content)

    @answers
    async def KeepLayer(self, request: pb.KeepLayerRequest) -> pb.KeepLayerResponse:
        await self._pulls.store_layer(msgspec.json.decode(request.layer, type=ContainerLayer), _principal(request))
        return pb.KeepLayerResponse()


def from_proto(pull: pb.Pull) -> Pull:
    config = pull.container_config
    return Pull(
        token=pull.token,
        image=parse_reference(pull.image),
        platforms=tuple(map(parse_platform, pull.platforms or (pull.platform,))),
        expires=datetime.fromtimestamp(pull.expires, UTC),
        container_config=msgspec.json.decode(config, type=ContainerConfig) if config else ContainerConfig(),
        principal=_principal(pull),
        is_built=pull.is_built,
    )


def _principal(message: pb.Pull | pb.ResolveImageRequest | pb.KeepLayerRequest) -> Principal:
    """Return the principal; gateways of version 0.1 send none."""
    return Principal(message.principal) if message.principal else PUBLIC
