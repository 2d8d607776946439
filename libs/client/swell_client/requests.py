"""Container requests, made from what people have: files, folders and names of packages."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from swell.api.containers import (
    BuildCompression,
    CompressionMode,
    ContainerConfig,
    ContainerLayer,
    ContainerRequest,
    NameStrategy,
    ScanMode,
    Severity,
)
from swell.api.packages import CondaOpts, CranOpts, Packages, PackageType, PixiOpts
from swell_client.packing import PackedLayer, pack_layer

CHANNELS = ("conda-forge", "bioconda")


class Options(TypedDict, total=False):
    """Options of every request; `docs/using.md` describes them under the names of the API."""

    platform: str
    freeze: bool
    build_repository: str
    cache_repository: str
    format: str
    name_strategy: str
    scan_mode: str
    scan_levels: Sequence[str]
    compression: str
    template: str
    build_args: Mapping[str, str]
    target: str
    labels: Mapping[str, str]
    build_secrets: Mapping[str, str]
    includes: Sequence[str]
    env: Mapping[str, str]
    entrypoint: Sequence[str]
    cmd: Sequence[str]
    working_dir: str
    layers: Sequence[Path | PackedLayer | ContainerLayer]
    rebuild: bool
    dry_run: bool
    mirror: bool


class Source(TypedDict, total=False):
    """What the container is made of: one of these."""

    container_image: str
    container_file: str
    build_context: ContainerLayer
    packages: Packages


def image_source(image: str) -> Source:
    return {"container_image": image}


def file_source(containerfile: str | Path, context: PackedLayer | None) -> Source:
    """A container file, as text or as the path of a file, and its packed context."""
    content = containerfile.read_bytes() if isinstance(containerfile, Path) else containerfile.encode()
    source: Source = {"container_file": base64.b64encode(content).decode()}
    return source | {"build_context": context.layer} if context else source


def conda_source(
    packages: Sequence[str],
    environment: str | Path | None,
    channels: Sequence[str] | None,
    *,
    base_image: str | None = None,
    base_packages: str | None = None,
) -> Source:
    """Conda packages by name, or all of an environment file (its text or its path).

    *base_image* is the image below them; *base_packages* are added to them, none if it is empty.
    """
    encoded = None
    if environment is not None:
        content = environment.read_bytes() if isinstance(environment, Path) else environment.encode()
        encoded = base64.b64encode(content).decode()
    chosen = (None if environment is not None else CHANNELS) if channels is None else tuple(channels)
    below = {"base_image": base_image, "base_packages": base_packages}
    given: dict[str, Any] = {name: value for name, value in below.items() if value is not None}
    return {
        "packages": Packages(
            type=PackageType.CONDA,
            entries=tuple(packages) or None,
            environment=encoded,
            channels=chosen,
            conda_opts=CondaOpts(**given) if given else None,
            pixi_opts=PixiOpts(**given) if given else None,
        )
    }


def cran_source(packages: Sequence[str], *, base_image: str | None = None, base_packages: str | None = None) -> Source:
    """R packages by name; *base_image* has R, *base_packages* are Debian's."""
    below = {"r_image": base_image, "base_packages": base_packages}
    given: dict[str, Any] = {name: value for name, value in below.items() if value is not None}
    options = CranOpts(**given) if given else None
    return {"packages": Packages(type=PackageType.CRAN, entries=tuple(packages), cran_opts=options)}


def container_request(source: Source, options: Options) -> ContainerRequest:
    """The request for *source* with *options*; folders among the layers are packed.

    Raises:
        PackError: a layer cannot be packed.
        ValueError: an option has a value that the API does not have.
    """
    return ContainerRequest(
        **source,
        container_config=_config(options),
        container_platform=options.get("platform"),
        container_includes=tuple(options["includes"]) if options.get("includes") else None,
        build_repository=options.get("build_repository"),
        cache_repository=options.get("cache_repository"),
        build_compression=BuildCompression(CompressionMode(options["compression"]))
        if options.get("compression")
        else None,
        build_args=dict(options["build_args"]) if options.get("build_args") else None,
        target=options.get("target"),
        labels=dict(options["labels"]) if options.get("labels") else None,
        build_secrets=dict(options["build_secrets"]) if options.get("build_secrets") else None,
        build_template=options.get("template"),
        format=options.get("format"),
        freeze=options.get("freeze", False),
        mirror=options.get("mirror", False),
        dry_run=options.get("dry_run", False),
        rebuild=options.get("rebuild", False),
        name_strategy=NameStrategy(options["name_strategy"]) if options.get("name_strategy") else None,
        scan_mode=ScanMode(options["scan_mode"]) if options.get("scan_mode") else None,
        scan_levels=tuple(map(Severity, options["scan_levels"])) if options.get("scan_levels") else None,
    )


def _config(options: Options) -> ContainerConfig | None:
    config = ContainerConfig(
        entrypoint=_words(options.get("entrypoint")),
        cmd=_words(options.get("cmd")),
        env=tuple(f"{name}={value}" for name, value in options.get("env", {}).items()) or None,
        working_dir=options.get("working_dir"),
        layers=tuple(map(_layer, options.get("layers", ()))) or None,
    )
    return None if config.is_empty else config


def _words(words: Sequence[str] | None) -> tuple[str, ...] | None:
    return tuple(words) if words else None


def _layer(layer: Path | PackedLayer | ContainerLayer) -> ContainerLayer:
    if isinstance(layer, Path):
        layer = pack_layer(layer)
    return layer.layer if isinstance(layer, PackedLayer) else layer
