"""Preparing a request: the layers of other images join its config, and a config that is frozen becomes part of the
container file."""

from typing import Protocol

from msgspec.structs import replace

from gateway.domain.freeze import base_image_of, entrypoint_of, frozen_file, frozen_image
from gateway.domain.wanted import Wanted
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.api.inspect import ContainerInfo, Content, Inspection
from swell.errors import BadRequest
from swell.oci.platform import Platform
from swell.oci.reference import Reference, blob_location, parse_reference

_NOTHING = ContainerConfig()


class Inspections(Protocol):
    async def inspect(self, image: Reference, platform: Platform | None) -> Inspection: ...


class Preparing:
    def __init__(self, inspections: Inspections) -> None:
        self._inspections = inspections

    async def prepare(self, wanted: Wanted) -> Wanted:
        """*wanted* without includes, and when it is frozen, without an image: with a container file for it.

        Raises:
            BadRequest: an include cannot be added, or a value cannot be written into a container file.
            ManifestUnknown, Denied, UpstreamFailed: an image that must be looked at cannot be.
        """
        if wanted.includes:
            config = wanted.container_config or _NOTHING
            layers = list(config.layers or ())
            for image in wanted.includes:
                layers += await self._layers(image, wanted.platform)
            wanted = replace(wanted, container_config=replace(config, layers=tuple(layers)), includes=())
        return await self._frozen(wanted) if wanted.freeze else wanted

    async def _frozen(self, wanted: Wanted) -> Wanted:
        config = wanted.container_config or _NOTHING
        if wanted.image:
            entrypoint = await self._entrypoint(str(wanted.image), wanted.platform)
            return replace(
                wanted, image=None, containerfile=frozen_image(str(wanted.image), config, entrypoint, wanted.sif)
            )
        containerfile = wanted.containerfile or ""
        if config.is_empty:
            return wanted
        own = entrypoint_of(containerfile)
        if own is None:
            own = await self._entrypoint(base_image_of(containerfile), wanted.platform)
        return replace(wanted, containerfile=frozen_file(containerfile, config, own, wanted.writes_definition))

    async def _entrypoint(self, image: str | None, platform: Platform) -> tuple[str, ...]:
        if image is None:
            return ()
        config = (await self._container(parse_reference(image), platform)).config.config
        return config.entrypoint if config else ()

    async def _layers(self, image: Reference, platform: Platform) -> list[ContainerLayer]:
        """The layers of *image*, to be taken from its registry."""
        found = await self._container(image, platform)
        contents = found.manifest.layers or ()
        diff_ids = found.config.rootfs.diff_ids if found.config.rootfs else ()
        if len(contents) != len(diff_ids):
            raise BadRequest(f"containerIncludes: {image} is no container image")
        return [_layer(image, content, diff_id) for content, diff_id in zip(contents, diff_ids, strict=True)]

    async def _container(self, image: Reference, platform: Platform) -> ContainerInfo:
        found = (await self._inspections.inspect(image, platform)).container
        if found is None:
            raise BadRequest(f"{image} is no container image")
        return found


def _layer(image: Reference, content: Content, diff_id: str) -> ContainerLayer:
    if not (content.media_type or "").endswith(("gzip", "tar+gzip")):
        raise BadRequest(f"containerIncludes: {image} has a layer that is not compressed with gzip")
    return ContainerLayer(
        location=blob_location(image, content.digest),
        gzip_digest=content.digest,
        gzip_size=content.size,
        tar_digest=diff_id,
    )
