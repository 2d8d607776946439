"""A build request: a container request, after validation."""

import re

import msgspec
from msgspec import Struct

from gateway.domain.base_images import images_of
from gateway.domain.definition import is_definition
from gateway.submit.naming import Tool
from gateway.submit.recipes.direct import Direct
from swell.api.containers import BuildCompression, BuildOptions, ContainerConfig, ContainerLayer, NameStrategy
from swell.oci.platform import Platform, canonical_architecture
from swell.oci.reference import BLOB_SCHEME, Reference, parse_blob_location

_FUSION = re.compile(r".*/fusion-(\w+)\.tar\.gz")


class BuildRequest(Struct, frozen=True, kw_only=True):
    """Either `image` or `containerfile` is set. `blobs` holds the layers that came as `data:`, by their gzip digest.

    `includes` are images whose layers are to be added, `included` those whose layers were.
    """

    platforms: tuple[Platform, ...]
    image: Reference | None = None
    containerfile: str | None = None
    environment: str | None = None
    tools: tuple[Tool, ...] = ()
    template: str | None = None
    direct: Direct | None = None
    container_config: ContainerConfig | None = None
    context: ContainerLayer | None = None
    includes: tuple[Reference, ...] = ()
    included: tuple[Reference, ...] = ()
    repository: str
    cache_repository: str | None = None
    strategy: NameStrategy | None = None
    compression: BuildCompression | None = None
    options: BuildOptions | None = None
    sif: bool = False
    freeze: bool = False
    dry_run: bool = False
    blobs: dict[str, bytes]

    @property
    def platform(self) -> Platform:
        """The platform asked for; of several, the one whose images are looked at for all."""
        return self.platforms[0]

    @property
    def platform_names(self) -> str:
        """All of them, with commas."""
        return ",".join(map(str, self.platforms))

    @property
    def writes_definition(self) -> bool:
        """Whether what is to be built is told as an Apptainer definition file."""
        return self.sif and (self.containerfile is None or is_definition(self.containerfile))

    @property
    def parts(self) -> tuple["BuildRequest", ...]:
        """Of several platforms, what is wanted of each, with the layers that are meant for it."""
        if len(self.platforms) == 1:
            return ()
        return tuple(_part(self, platform) for platform in self.platforms)


def _part(wanted: BuildRequest, platform: Platform) -> BuildRequest:
    config = wanted.container_config
    if config and config.layers:
        config = msgspec.structs.replace(
            config, layers=tuple(layer for layer in config.layers if _is_for(layer, platform)) or None
        )
    return msgspec.structs.replace(wanted, platforms=(platform,), container_config=config)


def _is_for(layer: ContainerLayer, platform: Platform) -> bool:
    """Fusion's layers tell in their addresses which architecture they are for; all others are for any."""
    found = _FUSION.fullmatch(layer.location)
    return not found or canonical_architecture(found[1]) == platform.architecture


def images_of_request(wanted: BuildRequest) -> list[Reference]:
    """The images that *wanted* is built of.

    Raises:
        BadRequest: as `images_of`.
    """
    base = wanted.direct.base_image if wanted.direct else None
    return images_of(
        wanted.containerfile or "",
        wanted.platforms,
        sif=wanted.sif,
        base=base,
        included=map(str, wanted.included),
        options=wanted.options,
    )


def images_read(wanted: BuildRequest) -> list[Reference]:
    """What is read of registries to answer *wanted*, beside the images of its recipe; of single layers, the blobs."""
    layers = (wanted.container_config.layers if wanted.container_config else None) or ()
    locations = [layer.location for layer in (*layers, wanted.context) if layer]
    blobs = [parse_blob_location(each) for each in locations if each.startswith(BLOB_SCHEME)]
    return [*([wanted.image] if wanted.image else []), *wanted.includes, *blobs]
