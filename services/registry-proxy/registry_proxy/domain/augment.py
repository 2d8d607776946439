"""Augmentation: append layers to an image, and override its run-time fields.

It is deterministic: equal inputs give equal digests, so a document that was lost can be made again.

Source: OCI image-spec, https://github.com/opencontainers/image-spec (manifest.md, config.md, image-index.md);
`WAVE_ENTRY_CHAIN` is Wave's.
"""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct, structs

from swell.api.containers import ContainerConfig, ContainerLayer
from swell.errors import ImageUnsupported, ManifestInvalid, ManifestUnknown
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.media_types import DOCKER_LAYER, DOCKER_MANIFEST, INDEXES, MANIFESTS, OCI_LAYER, SCHEMA_1
from swell.oci.mutate import (
    AddedLayer,
    ChainStyle,
    append_layers,
    override_run_fields,
    repointed,
    run_fields,
)
from swell.oci.platform import Platform, canonical_architecture

MAX_DEPTH = 4  # indexes within indexes; each level costs a request to the registry

_FUSION = re.compile(r"/fusion-(\w+)\.tar\.gz\Z")
_TOOL = "wave augment"
_SUBJECT = "vnd.docker.reference.digest"  # the image that an attestation of BuildKit describes


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


def choose(index: Document, platforms: Iterable[Platform]) -> tuple[Descriptor, ...]:
    """Return the entries of *index* to augment: the best ones for each of *platforms*.

    If a platform has no entry, nested indexes and manifests without a platform are added: their documents decide.

    Raises:
        ManifestUnknown: no entry is for any of *platforms*; the message names the platforms of the index.
    """
    manifests = [entry for entry in index.manifests if entry.media_type in MANIFESTS or not entry.media_type]
    wanted = tuple(platforms)
    chosen = [_best(manifests, platform) for platform in wanted]
    positions = {position for best in chosen for position in best}
    found = [entry for position, entry in enumerate(manifests) if position in positions]
    if not all(chosen):
        found += [entry for entry in index.manifests if entry.media_type in INDEXES]
        found += [entry for entry in manifests if not (entry.platform or subject(entry))]
    if not found:
        names = " and ".join(map(str, wanted))
        raise ManifestUnknown(f"The image is not made for {names}, but for {platform_names(manifests)}")
    return tuple({entry.digest: entry for entry in found}.values())  # one manifest may be for several platforms


def _best(entries: Iterable[Descriptor], platform: Platform) -> list[int]:
    """Return the positions of the best of *entries* for *platform*; several may be equal."""
    ranks = [platform.rank(entry.platform or {}) for entry in entries]
    lowest = min((rank for rank in ranks if rank is not None), default=None)
    return [position for position, rank in enumerate(ranks) if rank is not None and rank == lowest]


def deeper(depth: int) -> int:
    """Return the depth of the entries of an index at *depth*.

    Raises:
        ManifestInvalid: indexes are nested more than `MAX_DEPTH` deep.
    """
    if depth == MAX_DEPTH:
        raise ManifestInvalid(f"The image has more than {MAX_DEPTH} indexes within each other")
    return depth + 1


def augment_index(index: Document, replaced: Mapping[Digest, Document]) -> Document:
    """Return *index* with the entries of *replaced* digests changed to their new documents.

    Attestations of a replaced image are removed, because they describe the old one. Other entries do not change.
    """
    changed = {digest: document for digest, document in replaced.items() if document.digest != digest}
    entries = zip(index.manifests, index.fields["manifests"] or (), strict=True)
    return index.changed(
        manifests=[
            repointed(fields, changed[entry.digest]) if entry.digest in changed else fields
            for entry, fields in entries
            if subject(entry) not in changed
        ]
    )


def check_platform(config: Document, platforms: Iterable[Platform]) -> None:
    """Check that the image of *config* is for one of *platforms*.

    Raises:
        ManifestUnknown: it is for another platform.
    """
    wanted = tuple(platforms)
    if not any(platform.matches(config.fields) for platform in wanted):
        names = " and ".join(map(str, wanted))
        raise ManifestUnknown(f"The image is not made for {names}, but for {spelt(config.fields)}")


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


def subject(entry: Descriptor) -> Digest | None:
    """Return the image that *entry*, an attestation, describes; None for other entries."""
    named = (entry.annotations or {}).get(_SUBJECT)
    return Digest(named) if named else None


def platform_names(entries: Iterable[Descriptor]) -> str:
    """Return the distinct platforms of *entries*, without those of attestations."""
    named = [entry.platform for entry in entries if entry.platform and entry.platform.get("os") != "unknown"]
    return ", ".join(sorted({spelt(platform) for platform in named})) or "no platform at all"


def spelt(platform: Mapping[str, object]) -> str:
    parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
    return "/".join(str(part) for part in parts if part)
