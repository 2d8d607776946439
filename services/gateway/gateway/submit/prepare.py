"""Prepare a request: add the layers of included images to its config, and write a frozen config into its recipe."""

from collections.abc import Iterable
from typing import Protocol

from msgspec.structs import replace

from gateway.access.images.image_errors import reading
from gateway.submit.builds.freeze import (
    base_image_of,
    entrypoint_of,
    freeze_image,
    freeze_recipe,
    mark_for_sif,
)
from gateway.submit.request import BuildRequest
from swell.api.containers import BuildOptions, ContainerConfig, ContainerLayer
from swell.api.inspect import ContainerInfo, Content, Inspection
from swell.errors import BadRequest
from swell.oci.media_types import OCI_TAR_LAYER, OCI_ZSTD_LAYER
from swell.oci.platform import Platform
from swell.oci.reference import Reference, blob_location, parse_reference
from swell.registry.credentials.principal import Principal

_EMPTY = ContainerConfig()
_MEDIA_TYPE_SUFFIXES = {
    "gzip": None,
    "tar+zstd": OCI_ZSTD_LAYER,
    "tar.zstd": OCI_ZSTD_LAYER,
    "v1.tar": OCI_TAR_LAYER,
    "diff.tar": OCI_TAR_LAYER,
}


class Inspections(Protocol):
    async def inspect(self, image: Reference, platform: Platform | None, principal: Principal) -> Inspection: ...


class RequestPreparer:
    def __init__(self, inspections: Inspections) -> None:
        self._inspections = inspections

    async def prepare(self, request: BuildRequest, principal: Principal) -> BuildRequest:
        """Return *request* without includes; with freeze, it has a recipe instead of an image.

        *principal* reads the images.

        Raises:
            BadRequest: an image is missing or cannot be added, or a value cannot be written into a recipe.
            UpstreamFailed: the registry of an image does not respond.
        """
        if request.includes:
            request = await self._add_includes(request, principal)
        if not request.freeze:
            return request
        frozen = await self._freeze(request, principal)
        if not request.sif or request.writes_definition:
            return frozen
        return replace(frozen, containerfile=mark_for_sif(frozen.containerfile or ""))

    async def _add_includes(self, request: BuildRequest, principal: Principal) -> BuildRequest:
        config = request.container_config or _EMPTY
        layers = list(config.layers or ())
        for image in request.includes:
            layers += await self._layers(image, request.platform, principal)
        await self._check_media_types(request, layers, principal)
        config = replace(config, layers=tuple(layers))
        return replace(request, container_config=config, includes=(), included=request.includes)

    async def _freeze(self, request: BuildRequest, principal: Principal) -> BuildRequest:
        config = request.container_config or _EMPTY
        if request.image:
            image = str(request.image)
            entrypoint = await self._entrypoint(image, request.platform, principal)
            return replace(
                request,
                image=None,
                containerfile=freeze_image(image, config, entrypoint, request.sif),
                freezes_image=True,
            )
        recipe = request.containerfile or ""
        if config.is_empty:
            return request
        options = request.options or BuildOptions()
        own_entrypoint = entrypoint_of(recipe, options.target)
        if own_entrypoint is None:
            base_image = base_image_of(recipe, options.arguments, options.target)
            own_entrypoint = await self._entrypoint(base_image, request.platform, principal)
        frozen = freeze_recipe(recipe, config, own_entrypoint, request.writes_definition, options.target)
        return replace(request, containerfile=frozen)

    async def _entrypoint(self, image: str | None, platform: Platform, principal: Principal) -> tuple[str, ...]:
        if image is None:
            return ()
        config = (await self._inspect(parse_reference(image), platform, principal)).config.config
        return config.entrypoint if config else ()

    async def _layers(self, image: Reference, platform: Platform, principal: Principal) -> list[ContainerLayer]:
        """The layers of *image*, with locations in its registry."""
        container = await self._inspect(image, platform, principal, "containerIncludes")
        contents = container.manifest.layers or ()
        diff_ids = container.config.rootfs.diff_ids if container.config.rootfs else ()
        if len(contents) != len(diff_ids):
            raise BadRequest(f"containerIncludes: {image} is not a container image")
        return [_layer(image, content, diff_id) for content, diff_id in zip(contents, diff_ids, strict=True)]

    async def _check_media_types(
        self, request: BuildRequest, layers: Iterable[ContainerLayer], principal: Principal
    ) -> None:
        """Check that the image can have *layers*: only an OCI image that is not frozen can have other than gzip."""
        if all(layer.media_type is None for layer in layers):
            return
        if request.freeze:
            raise BadRequest("containerIncludes: with freeze, the layers of all images must be compressed with gzip")
        if request.image and not (await self._inspect(request.image, request.platform, principal)).oci:
            raise BadRequest(
                f"containerIncludes: {request.image} is in Docker's format, so the layers of all images that are added "
                "to it must be compressed with gzip"
            )

    async def _inspect(
        self, image: Reference, platform: Platform, principal: Principal, member: str = ""
    ) -> ContainerInfo:
        with reading(image, member):
            container = (await self._inspections.inspect(image, platform, principal)).container
        if container is None:
            raise BadRequest(f"{image} is not a container image")
        return container


def _layer(image: Reference, content: Content, diff_id: str) -> ContainerLayer:
    return ContainerLayer(
        location=blob_location(image, content.digest),
        gzip_digest=content.digest,
        gzip_size=content.size,
        tar_digest=diff_id,
        media_type=_media_type(image, content),
    )


def _media_type(image: Reference, content: Content) -> str | None:
    """The OCI media type of a layer of *image*, which may have Docker's; None for gzip, the default."""
    for suffix, media_type in _MEDIA_TYPE_SUFFIXES.items():
        if (content.media_type or "").endswith(suffix):
            return media_type
    raise BadRequest(f"containerIncludes: {image} has a layer of type {content.media_type}, which cannot be added")
