"""Change an image: append layers, replace run-time fields, complete the history.

Every function is pure and deterministic: equal inputs give equal bytes, so equal digests. Unknown JSON fields are
preserved. Sources: OCI image-spec, "OCI Image Configuration", https://github.com/opencontainers/image-spec/blob/main/config.md,
and "Image Manifest Specification", https://github.com/opencontainers/image-spec/blob/main/manifest.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from swell.errors import ManifestInvalid, TooLarge
from swell.oci.descriptor import Descriptor
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.run_fields import RunFields

MAX_LAYERS = 127
"""The number of layers that the overlay file system of container engines can stack."""

_EPOCH = "1970-01-01T00:00:00Z"


class AddedLayer(Struct, frozen=True):
    """A layer to append; `size` (bytes) and `digest` are of the compressed tar, `diff_id` is of the tar itself.

    `comment` describes the layer in the history.
    """

    media_type: str
    digest: str
    size: int
    diff_id: str
    comment: str


class _History(Struct):
    empty_layer: bool | None = None


class _RootFs(Struct):
    diff_ids: list[str] | None = None  # Go writes an empty list as null or omits it


class _Config(Struct):
    config: RunFields | None = None
    rootfs: _RootFs | None = None
    history: list[_History] | None = None


def append_layers(image: Image, layers: Sequence[AddedLayer], run_fields: Mapping[str, Any], tool: str) -> Image:
    """Return *image* with *layers* on top and with *run_fields* as its run-time fields.

    The history gets an entry for every layer, because converters and `buildah commit` require it, and one for changed
    run-time fields. *tool* begins each new entry; all have the same fixed time.

    Raises:
        ManifestInvalid: the manifest and the config of *image* are malformed or disagree.
        TooLarge: the image would have more than `MAX_LAYERS` layers.
    """
    base_layers = check_layers(image)
    if len(base_layers) + len(layers) > MAX_LAYERS:
        raise TooLarge(
            f"The image has {len(base_layers)} layers and {len(layers)} are added; the limit is {MAX_LAYERS}"
        )
    config = _changed_config(image, base_layers, layers, run_fields, tool)
    added = [{"mediaType": layer.media_type, "size": layer.size, "digest": layer.digest} for layer in layers]
    manifest = image.manifest.changed(
        config=repointed(image.manifest.fields["config"], config),
        layers=[*(image.manifest.fields["layers"] or ()), *added],
    )
    return Image(manifest, config)


def check_layers(image: Image) -> tuple[Descriptor, ...]:
    """Return the layers in the manifest of *image*, lowest first.

    Raises:
        ManifestInvalid: the manifest or config is malformed, or the config has another number of `diff_ids`.
    """
    layers, diff_ids = image.manifest.layers, _diff_ids(image.config.read_as(_Config))
    if len(layers) != len(diff_ids):
        raise ManifestInvalid(f"The image's manifest has {len(layers)} layers, but its config {len(diff_ids)} diff_ids")
    return layers


def repointed(descriptor: Mapping[str, Any], target: Document) -> dict[str, Any]:
    """Return *descriptor* with the digest and size of *target*; embedded `data` is removed."""
    kept = {name: value for name, value in descriptor.items() if name != "data"}
    return kept | {"digest": target.digest, "size": target.size}


def _changed_config(
    image: Image,
    base_layers: Sequence[Descriptor],
    layers: Sequence[AddedLayer],
    run_fields: Mapping[str, Any],
    tool: str,
) -> Document:
    config = image.config
    view, before = config.read_as(_Config), config.fields
    history = _complete_history(config, view, base_layers, tool)
    history += [_history_entry(tool, layer.comment) for layer in layers]
    if run_fields != (before.get("config") or {}):
        history.append(_history_entry(tool, "config") | {"empty_layer": True})
    rootfs = before.get("rootfs") or {"type": "layers"}
    return Document(image.manifest.config.media_type, config.content).changed(
        config=run_fields,
        history=history,
        rootfs=rootfs | {"diff_ids": [*_diff_ids(view), *(layer.diff_id for layer in layers)]},
    )


def _complete_history(config: Document, view: _Config, layers: Sequence[Descriptor], tool: str) -> list[dict[str, Any]]:
    """Return the history of *config* with an entry for each layer that has none."""
    described = sum(not entry.empty_layer for entry in view.history or ())
    missing = [_history_entry(tool, f"base layer {layer.digest}") for layer in layers[described:]]
    return [*(config.fields.get("history") or ()), *missing]


def _history_entry(tool: str, comment: str) -> dict[str, Any]:
    return {"created": _EPOCH, "created_by": f"{tool}: {comment}"}


def _diff_ids(config: _Config) -> list[str]:
    return (config.rootfs.diff_ids if config.rootfs else None) or []
