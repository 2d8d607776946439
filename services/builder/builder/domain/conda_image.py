"""The image of an environment: its base, with the layers of the packages on top and conda's variables in its config."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from builder.domain.conda_layout import MOST_LAYERS
from builder.domain.failure import BuildFailure
from swell.api.containers import ContainerConfig
from swell.errors import ManifestInvalid
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.media_types import DOCKER_LAYER, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from swell.oci.platform import Platform
from swell.store.records import Reason

SCRATCH = "scratch"
"""The name of the base image that is none."""

_ENGINE = "conda/direct:v1"
_EPOCH = "1970-01-01T00:00:00Z"
_LAYERS = {
    OCI_LAYER: OCI_LAYER,
    DOCKER_LAYER: OCI_LAYER,
    "application/vnd.oci.image.layer.v1.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}


class Added(Struct, frozen=True):
    """A layer of ours, and in words what is in it."""

    digest: Digest
    diff_id: Digest
    size: int
    says: str


def empty_image(platform: Platform) -> Image:
    """What `SCRATCH` names."""
    config = Document(OCI_CONFIG, b"{}").changed(os=platform.os, architecture=platform.architecture)
    return Image(Document(OCI_MANIFEST, b'{"layers": []}'), config)


class _Settings(Struct):
    env: tuple[str, ...] | None = field(name="Env", default=None)
    entrypoint: tuple[str, ...] | str | None = field(name="Entrypoint", default=None)


class _Rootfs(Struct):
    diff_ids: tuple[str, ...] | None = None


class _Config(Struct):
    """What is changed in a config, and so must be what it should be."""

    config: _Settings | None = None
    rootfs: _Rootfs | None = None
    history: tuple[dict[str, Any], ...] | None = None


def check_base(base: Image) -> None:
    """See that layers can be put on *base*.

    Raises:
        ManifestInvalid: its manifest and its config do not go together.
    """
    found = base.config.read_as(_Config)
    diff_ids = (found.rootfs.diff_ids if found.rootfs else None) or ()
    if len(diff_ids) != len(base.manifest.layers):
        raise ManifestInvalid("The image's config does not tell as many layers as its manifest has")


def base_layers(base: Image) -> tuple[Descriptor, ...]:
    """The layers of *base*.

    Raises:
        BuildFailure: there are too many of them, or they are of a kind that cannot be pushed.
    """
    layers = base.manifest.layers if base.manifest.fields.get("config") else ()
    if len(layers) >= MOST_LAYERS:
        message = f"The base image has {len(layers)} layers; an image has at most {MOST_LAYERS}."
        raise BuildFailure(Reason.BASE_IMAGE, message)
    if odd := next((layer.media_type for layer in layers if layer.media_type not in _LAYERS), None):
        raise BuildFailure(Reason.BASE_IMAGE, f"The base image has a layer of the type {odd}, which cannot be copied.")
    return layers


def on_top(
    base: Image, added: Sequence[Added], environment: Sequence[str], frozen: ContainerConfig | None = None
) -> Image:
    """*base* with the layers *added*, the variables *environment* and what *frozen* says; of OCI media types.

    What *frozen* has for layers must be among *added*.
    """
    fields = base.config.fields
    rootfs, settings = fields.get("rootfs") or {}, fields.get("config") or {}
    told = sum(not entry.get("empty_layer") for entry in fields.get("history") or ())
    untold = [f"base layer {layer.digest}" for layer in base_layers(base)[told:]]
    history = [_history_entry(each) for each in (*untold, *(f"{_ENGINE}: {each.says}" for each in added))]
    config = Document(OCI_CONFIG, base.config.content).changed(
        config=_run_fields({**settings, "Env": list(environment)}, frozen),
        rootfs={"type": "layers", "diff_ids": [*(rootfs.get("diff_ids") or ()), *(each.diff_id for each in added)]},
        history=[*(fields.get("history") or ()), *history],
    )
    layers = [(_LAYERS[layer.media_type], layer.digest, layer.size) for layer in base_layers(base)]
    layers += [(OCI_LAYER, each.digest, each.size) for each in added]
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(OCI_CONFIG, config.digest, config.size),
        "layers": [_descriptor(*layer) for layer in layers],
    }
    return Image(Document(OCI_MANIFEST, b"{}").changed(**manifest), config)


def _run_fields(settings: dict[str, Any], frozen: ContainerConfig | None) -> dict[str, Any]:
    """*settings* with those of *frozen*, as they would be if it were added at the pull."""
    if frozen is None:
        return settings
    own = settings.get("Entrypoint")
    chain = [f"WAVE_ENTRY_CHAIN={own if isinstance(own, str) else ' '.join(own)}"] if own else []
    env = {entry.partition("=")[0]: entry for entry in (*settings["Env"], *chain, *(frozen.env or ()))}
    wanted = {"Entrypoint": frozen.entrypoint, "Cmd": frozen.cmd, "WorkingDir": frozen.working_dir}
    return {**settings, "Env": list(env.values()), **{name: value for name, value in wanted.items() if value}}


def _history_entry(says: str) -> dict[str, str]:
    return {"created": _EPOCH, "created_by": says}


def variables_of(base: Image) -> tuple[str, ...]:
    """The environment variables of *base*, as `NAME=value`."""
    return tuple((base.config.fields.get("config") or {}).get("Env") or ())


def _descriptor(media_type: str, digest: Digest, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}
