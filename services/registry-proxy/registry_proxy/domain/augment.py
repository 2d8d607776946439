"""Augmentation: append layers to an image, and override its run-time fields.

It is deterministic: equal inputs give equal digests, so a document that was lost can be made again.

Source: OCI image-spec, https://github.com/opencontainers/image-spec (manifest.md, config.md, image-index.md);
`WAVE_ENTRY_CHAIN` is Wave's.
"""

import re
from collections.abc import Iterable

from msgspec import Struct, structs

from swell.api.containers import ContainerConfig, ContainerLayer
from swell.errors import ImageUnsupported, ManifestInvalid
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.media_types import DOCKER_LAYER, DOCKER_MANIFEST, OCI_LAYER, SCHEMA_1
from swell.oci.mutate import AddedLayer, append_layers
from swell.oci.platform import canonical_architecture
from swell.oci.run_fields import ChainStyle, override_run_fields, run_fields

_FUSION = re.compile(r"/fusion-(\w+)\.tar\.gz\Z")
_TOOL = "wave augment"


class _Config(Struct):
    architecture: str | None = None


def augment(image: Image, wanted: ContainerConfig) -> Image:
    """Append the layers of *wanted*, and override the run-time fields that it sets.

    Unknown JSON fields are preserved. Fusion layers for another architecture are left out. The caller has verified the
    digests and sizes of the layers.

    Raises:
        ManifestInvalid: the image's manifest and config are malformed or disagree.
        ImageUnsupported: it is not a container image (a chart, a SIF file, a manifest of schema 1), or it is in
            Docker's format and a layer is not compressed with gzip.
        TooLarge: the image would have more than `MAX_LAYERS` layers.
    """
    wanted = structs.replace(wanted, layers=_fitting(wanted.layers or (), _architecture(image)))
    if wanted.is_empty:
        return image
    layers = [_added(image.manifest, layer) for layer in wanted.layers or ()]
    return append_layers(image, layers, override_run_fields(run_fields(image.config), wanted, ChainStyle.JSON), _TOOL)


def _added(manifest: Document, layer: ContainerLayer) -> AddedLayer:
    return AddedLayer(
        _media_type(manifest, layer),
        layer.gzip_digest or "",
        layer.gzip_size or 0,
        layer.tar_digest or "",
        f"layer {layer.gzip_digest}",
    )


def _fitting(layers: Iterable[ContainerLayer], architecture: str) -> tuple[ContainerLayer, ...]:
    """Return *layers* without the Fusion layers for another architecture; all of them if *architecture* is unknown."""
    return tuple(layer for layer in layers if not architecture or _fusion_of(layer) in (None, architecture))


def _fusion_of(layer: ContainerLayer) -> str | None:
    found = _FUSION.search(layer.location)
    return canonical_architecture(found[1]) if found else None


def check_type(document: Document) -> None:
    """Check that the `mediaType` of *document* is the Content-Type that its registry sent.

    Raises:
        ManifestInvalid: they differ.
    """
    if written := document.contradicts:
        raise ManifestInvalid(
            f"Nothing can be added to {document.digest}: its registry serves it as {document.kind or 'nothing known'}, "
            f"and it says that it is {written[:128]}"
        )


def check_manifest(document: Document) -> None:
    """Check that *document* is a manifest that can be augmented, before its config is fetched.

    Raises:
        ImageUnsupported: it is another kind of document.
    """
    check_type(document)
    if document.kind in SCHEMA_1 or document.fields.get("schemaVersion") == 1:
        raise ImageUnsupported(f"Nothing can be added to {document.digest}: it is in Docker's old format, schema 1")
    if not document.is_manifest:
        raise ImageUnsupported(f"Nothing can be added to {document.digest}: it is no container image")


def _architecture(image: Image) -> str:
    check_manifest(image.manifest)
    if "rootfs" not in image.config.fields:
        raise ImageUnsupported(f"Nothing can be added to {image.manifest.digest}: it is no container image")
    return canonical_architecture(image.config.read_as(_Config).architecture or "")


def _media_type(manifest: Document, layer: ContainerLayer) -> str:
    """Return the media type of *layer* in *manifest*: Docker's or the OCI's; only OCI layers can be other than gzip."""
    if manifest.kind != DOCKER_MANIFEST:
        return layer.media_type or OCI_LAYER
    if layer.media_type not in {None, OCI_LAYER}:
        raise ImageUnsupported(f"The image is in Docker's format, to which no layer of {layer.media_type} can be added")
    return DOCKER_LAYER
