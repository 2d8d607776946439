"""Preparing a request: the layers of other images join its config, and a config that is frozen becomes part of the
container file."""

from collections.abc import Iterable
from typing import Protocol

from msgspec.structs import replace

from gateway.submit.freeze import base_image_of, entrypoint_of, for_sif, frozen_file, frozen_image
from gateway.submit.request import BuildRequest
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.api.inspect import ContainerInfo, Content, Inspection
from swell.errors import BadRequest
from swell.oci.media_types import OCI_TAR_LAYER, OCI_ZSTD_LAYER
from swell.oci.platform import Platform
from swell.oci.reference import Reference, blob_location, parse_reference
from swell.registry.principal import Principal

_NOTHING = ContainerConfig()
_ENDINGS = {
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

    async def prepare(self, wanted: BuildRequest, principal: Principal) -> BuildRequest:
        """*wanted* without includes, and when it is frozen, without an image: with a container file for it.

        Images are read with the credentials of *principal*.

        Raises:
            BadRequest: an include cannot be added, or a value cannot be written into a container file.
            ManifestUnknown, Denied, UpstreamFailed: an image that must be looked at cannot be.
        """
        if wanted.includes:
            config = wanted.container_config or _NOTHING
            layers = list(config.layers or ())
            for image in wanted.includes:
                layers += await self._layers(image, wanted.platform, principal)
            await self._check_media_types(wanted, layers, principal)
            wanted = replace(
                wanted, container_config=replace(config, layers=tuple(layers)), includes=(), included=wanted.includes
            )
        if not wanted.freeze:
            return wanted
        frozen = await self._frozen(wanted, principal)
        if not wanted.sif or wanted.writes_definition:
            return frozen
        return replace(frozen, containerfile=for_sif(frozen.containerfile or ""))

    async def _frozen(self, wanted: BuildRequest, principal: Principal) -> BuildRequest:
        config = wanted.container_config or _NOTHING
        if wanted.image:
            entrypoint = await self._entrypoint(str(wanted.image), wanted.platform, principal)
            return replace(
                wanted, image=None, containerfile=frozen_image(str(wanted.image), config, entrypoint, wanted.sif)
            )
        containerfile = wanted.containerfile or ""
        if config.is_empty:
            return wanted
        own = entrypoint_of(containerfile)
        if own is None:
            arguments = wanted.options.arguments if wanted.options else {}
            own = await self._entrypoint(base_image_of(containerfile, arguments), wanted.platform, principal)
        return replace(wanted, containerfile=frozen_file(containerfile, config, own, wanted.writes_definition))

    async def _entrypoint(self, image: str | None, platform: Platform, principal: Principal) -> tuple[str, ...]:
        if image is None:
            return ()
        config = (await self._container(parse_reference(image), platform, principal)).config.config
        return config.entrypoint if config else ()

    async def _layers(self, image: Reference, platform: Platform, principal: Principal) -> list[ContainerLayer]:
        """The layers of *image*, to be taken from its registry."""
        found = await self._container(image, platform, principal)
        contents = found.manifest.layers or ()
        diff_ids = found.config.rootfs.diff_ids if found.config.rootfs else ()
        if len(contents) != len(diff_ids):
            raise BadRequest(f"containerIncludes: {image} is no container image")
        return [_layer(image, content, diff_id) for content, diff_id in zip(contents, diff_ids, strict=True)]

    async def _check_media_types(
        self, wanted: BuildRequest, layers: Iterable[ContainerLayer], principal: Principal
    ) -> None:
        """See that *layers* can be added as they are: elsewhere than in an OCI image, all must be gzip."""
        if all(layer.media_type is None for layer in layers):
            return
        if wanted.freeze:
            raise BadRequest("containerIncludes: with freeze, the layers of all images must be compressed with gzip")
        if wanted.image and not (await self._container(wanted.image, wanted.platform, principal)).oci:
            raise BadRequest(
                f"containerIncludes: {wanted.image} is in Docker's format, so the layers of all images that are added "
                "to it must be compressed with gzip"
            )

    async def _container(self, image: Reference, platform: Platform, principal: Principal) -> ContainerInfo:
        found = (await self._inspections.inspect(image, platform, principal)).container
        if found is None:
            raise BadRequest(f"{image} is no container image")
        return found


def _layer(image: Reference, content: Content, diff_id: str) -> ContainerLayer:
    return ContainerLayer(
        location=blob_location(image, content.digest),
        gzip_digest=content.digest,
        gzip_size=content.size,
        tar_digest=diff_id,
        media_type=_media_type(image, content),
    )


def _media_type(image: Reference, content: Content) -> str | None:
    """The OCI's type of a layer of *image*, whose own may be Docker's; None for gzip, which needs no telling."""
    for ending, media_type in _ENDINGS.items():
        if (content.media_type or "").endswith(ending):
            return media_type
    raise BadRequest(f"containerIncludes: {image} has a layer of type {content.media_type}, which cannot be added")
