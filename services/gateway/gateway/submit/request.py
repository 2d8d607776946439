"""A build request: a container request after validation."""

import re

from msgspec import Struct
from msgspec.structs import replace

from gateway.access.images.origins import Input, blobs_in
from gateway.domain.base_images import images_in_recipe
from gateway.domain.definition import is_definition, translate
from swell.api.containers import BuildCompression, BuildOptions, ContainerConfig, ContainerLayer, NameStrategy, ScanMode
from swell.containerfile import parse
from swell.naming.image_name import Tool
from swell.oci.platform import Platform, canonical_architecture
from swell.oci.reference import BLOB_SCHEME, Reference, parse_blob_location
from swell.recipes.direct import DirectPackages
from swell.store.records import FROM_CLIENT

_FUSION = re.compile(r".*/fusion-(\w+)\.tar\.gz")


class BuildRequest(Struct, frozen=True, kw_only=True):
    """The inputs of an image: either `image` or `containerfile` is set.

    - `environment` is the text of `conda.yml`, `tools` are its packages; `direct` are packages installed as layers.
      `base_packages` are added to either.
    - `includes` are images whose layers are to be added, `included` are those whose layers `container_config` has.
    - `mirror` is the name of the copy, if `image` is to be copied.
    - `freezes_image` means that `containerfile` is written by freeze, for an image.
    - `blobs` are the layers that the request contains, by the digest of their gzip.
    """

    platforms: tuple[Platform, ...]
    image: Reference | None = None
    containerfile: str | None = None
    environment: str | None = None
    tools: tuple[Tool, ...] = ()
    template: str | None = None
    direct: DirectPackages | None = None
    base_packages: tuple[str, ...] = ()
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
    mirror: Reference | None = None
    dry_run: bool = False
    scan_mode: ScanMode | None = None
    scan_levels: tuple[str, ...] = ()
    rebuild: bool = False
    freezes_image: bool = False
    blobs: dict[str, bytes]

    @property
    def platform(self) -> Platform:
        """The requested platform; the first one if there are several: base images are inspected for it."""
        return self.platforms[0]

    @property
    def platform_names(self) -> str:
        """All requested platforms, separated by commas."""
        return ",".join(map(str, self.platforms))

    @property
    def uses_lock_url(self) -> bool:
        """Whether the packages are those of a lock file that the build downloads."""
        is_conda = (self.template or "").startswith("conda/")
        return is_conda and self.environment is None and self.direct is None

    @property
    def is_durable(self) -> bool:
        """Whether clients pull the image from its own registry, without a token."""
        return self.freeze or self.mirror is not None

    @property
    def needs_build(self) -> bool:
        """Whether the image must be built; an image without freeze is augmented at the pull instead."""
        return self.freeze or not self.image

    @property
    def writes_definition(self) -> bool:
        """Whether the recipe is an Apptainer definition file, and not a Dockerfile."""
        return self.sif and (self.containerfile is None or is_definition(self.containerfile))

    @property
    def ignores_triggers(self) -> bool:
        """Whether triggers (ONBUILD) of the base image are not run: they are for builds that a Dockerfile describes."""
        return self.freezes_image or (self.sif and self.writes_definition)

    @property
    def runs_steps(self) -> bool:
        """Whether the build runs commands, for which the builder must support the platform."""
        if self.direct or not self.containerfile:
            return False
        return parse(translate(self.containerfile).containerfile if self.sif else self.containerfile).runs_steps

    @property
    def parts(self) -> tuple["BuildRequest", ...]:
        """With several platforms, the request for each one, with the layers for that platform; else empty."""
        if len(self.platforms) == 1:
            return ()
        return tuple(_part(self, platform) for platform in self.platforms)

    def base_images(self) -> list[Reference]:
        """The images that the build reads.

        Raises:
            BadRequest: as `images_in_recipe`.
        """
        base = self.direct.base_image if self.direct else None
        return images_in_recipe(
            self.containerfile or "",
            self.platforms,
            sif=self.sif,
            base=base,
            included=map(str, self.included),
            options=self.options,
        )

    def inputs(self) -> list[Input]:
        """The images that the build reads, and the blobs of repositories that become its context and layers.

        Raises:
            BadRequest: as `base_images`.
        """
        return [*self.base_images(), *blobs_in(self.sources)]

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the context and the layers of the build come from, as in `Submission`."""
        config = self.container_config if self.freeze else None
        layers = [layer for layer in (self.context, *((config.layers if config else None) or ())) if layer]
        included = {image.name for image in self.included}
        locations = [layer.location if layer.location.startswith(BLOB_SCHEME) else FROM_CLIENT for layer in layers]
        return tuple(
            each
            for each in dict.fromkeys(locations)
            if each == FROM_CLIENT or parse_blob_location(each).name not in included
        )

    def images_to_read(self) -> list[Reference]:
        """The images that the gateway reads to answer the request, without those of `base_images`."""
        layers = (self.container_config.layers if self.container_config else None) or ()
        locations = [layer.location for layer in (*layers, self.context) if layer]
        blobs = [parse_blob_location(location) for location in locations if location.startswith(BLOB_SCHEME)]
        return [*([self.image] if self.image else []), *self.includes, *blobs]


def _part(request: BuildRequest, platform: Platform) -> BuildRequest:
    config = request.container_config
    if config and config.layers:
        layers = tuple(layer for layer in config.layers if _is_for(layer, platform))
        config = replace(config, layers=layers or None)
    return replace(request, platforms=(platform,), container_config=config)


def _is_for(layer: ContainerLayer, platform: Platform) -> bool:
    """Whether *layer* suits *platform*: the URL of a Fusion layer names an architecture, other layers suit any."""
    match = _FUSION.fullmatch(layer.location)
    return not match or canonical_architecture(match[1]) == platform.architecture
