"""The image of an environment: the base image, the layers of the packages, and conda's variables in the config."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from builder.domain.failure import BuildFailure
from swell.api.containers import ContainerConfig
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.media_types import DOCKER_LAYER, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from swell.oci.mutate import MAX_LAYERS, AddedLayer, append_layers
from swell.oci.platform import Platform
from swell.oci.run_fields import ChainStyle, override_run_fields, run_fields
from swell.store.records import Reason

SCRATCH = "scratch"
"""The base image name for an empty image."""

_ENGINE = "conda/direct:v1"
_LAYERS = {
    OCI_LAYER: OCI_LAYER,
    DOCKER_LAYER: OCI_LAYER,
    "application/vnd.oci.image.layer.v1.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}


class Added(Struct, frozen=True):
    """A layer of packages, and a description of its content."""

    digest: Digest
    diff_id: Digest
    size: int
    says: str


def empty_image(platform: Platform) -> Image:
    """Return the image of `SCRATCH`: it has no layers."""
    config = Document(OCI_CONFIG, b"{}").changed(os=platform.os, architecture=platform.architecture)
    return Image(Document(OCI_MANIFEST, b'{"layers": []}'), config)


def base_layers(base: Image) -> tuple[Descriptor, ...]:
    """Return the layers of *base*.

    Raises:
        BuildFailure: there are too many of them, or they are of a kind that cannot be pushed.
    """
    layers = base.manifest.layers if base.manifest.fields.get("config") else ()
    if len(layers) >= MAX_LAYERS:
        message = f"The base image has {len(layers)} layers; an image has at most {MAX_LAYERS}."
        raise BuildFailure(Reason.BASE_IMAGE, message)
    if odd := next((layer.media_type for layer in layers if layer.media_type not in _LAYERS), None):
        raise BuildFailure(Reason.BASE_IMAGE, f"The base image has a layer of the type {odd}, which cannot be copied.")
    return layers


def on_top(
    base: Image, added: Sequence[Added], environment: Sequence[str], frozen: ContainerConfig | None = None
) -> Image:
    """Return *base*, converted to OCI media types, with the layers *added* and the variables *environment*.

    *frozen* overrides run-time fields; its layers must be among *added*.

    Raises:
        ManifestInvalid: the manifest and config of *base* are malformed or disagree.
    """
    image = _as_oci(base)
    fields = run_fields(image.config) | {"Env": list(environment)}
    if frozen:
        fields = override_run_fields(fields, frozen, ChainStyle.WORDS)
    layers = [AddedLayer(OCI_LAYER, each.digest, each.size, each.diff_id, each.says) for each in added]
    return append_layers(image, layers, fields, _ENGINE)


def _as_oci(base: Image) -> Image:
    config = Document(OCI_CONFIG, base.config.content)
    layers = [_descriptor(_LAYERS[layer.media_type], layer.digest, layer.size) for layer in base_layers(base)]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(OCI_CONFIG, config.digest, config.size),
        "layers": layers,
    }
    return Image(Document(OCI_MANIFEST, b"{}").changed(**manifest), config)


def variables_of(base: Image) -> tuple[str, ...]:
    """Return the environment variables of *base*, as `NAME=value`."""
    return tuple((base.config.fields.get("config") or {}).get("Env") or ())


def _descriptor(media_type: str, digest: Digest, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}
