"""What a request names outside of this server: its image, and layers at foreign locations."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.access.images.image_errors import reading
from gateway.submit.request import BuildRequest
from swell.api.containers import ContainerLayer
from swell.errors import BadRequest, BlobUnknown
from swell.oci.digest import Digest
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.registry.credentials.principal import Principal


class Registry(Protocol):
    async def resolve(self, image: Reference, principal: Principal, platforms: Sequence[Platform] = ()) -> Digest:
        """Return the digest of *image*; raises `BadRequest` if it is for none of *platforms*."""

    async def keep(self, layer: ContainerLayer, principal: Principal) -> None:
        """Download *layer* from its location into the object store, and verify it.

        *principal* reads the layers of images.
        """


class LayerStore(Protocol):
    async def put_all(self, blobs: Mapping[str, bytes]) -> None:
        """Store each content under its digest; when the call returns, all are stored."""


class RequestImages:
    """Checks the images of requests, and stores their layers.

    With *allows_missing_platforms*, an image need not exist for the requested platforms.
    """

    def __init__(self, registry: Registry, layers: LayerStore, *, allows_missing_platforms: bool) -> None:
        self._registry = registry
        self._layers = layers
        self._allows_missing_platforms = allows_missing_platforms

    async def check_platforms(self, request: BuildRequest, principal: Principal) -> None:
        """Check that an image to freeze is for the platforms of *request*; raises `BadRequest`."""
        if request.image and request.freeze and not self._allows_missing_platforms:
            with reading(request.image):
                await self._registry.resolve(request.image, principal, request.platforms)

    async def check_exists(self, image: Reference, request: BuildRequest, principal: Principal) -> None:
        """Check that *image*, which needs no build, exists for the platforms of *request*.

        Raises:
            BadRequest: it does not exist, not for these platforms, or *principal* may not read it.
            UpstreamFailed: its registry does not respond.
        """
        platforms = () if self._allows_missing_platforms else request.platforms
        with reading(image):
            await self._registry.resolve(image, principal, platforms)

    async def store_layers(self, request: BuildRequest, principal: Principal) -> None:
        """Store the inline layers, and the layers that the build needs in the object store."""
        await self._layers.put_all(request.blobs)
        frozen = (request.container_config.layers if request.freeze and request.container_config else None) or ()
        for layer in filter(None, (request.context, *frozen)):
            if layer.location:
                await self._download(layer, principal)

    async def _download(self, layer: ContainerLayer, principal: Principal) -> None:
        try:
            await self._registry.keep(layer, principal)
        except BlobUnknown as error:
            raise BadRequest(f"no layer exists at the location {layer.location[:200]}: {error}") from error
