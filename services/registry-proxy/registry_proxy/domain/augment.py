"""Augmenting: an image and what to add to it make another image.

Source: OCI image-spec, manifest.md, config.md and image-index.md; `WAVE_ENTRY_CHAIN` is Wave's. There is no clock and
no chance in it: the same image and wish give the same digests, so whatever was lost can be made again.
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

MAX_DEPTH = 4  # indexes within indexes; each level costs a question to the registry

_FUSION = re.compile(r"/fusion-(\w+)\.tar\.gz\Z")
_TOOL = "wave augment"
_SUBJECT = "vnd.docker.reference.digest"  # what an attestation of BuildKit is about


class _Config(Struct):
    architecture: str | None = None


def augment(image: Image, wanted: ContainerConfig) -> Image:
    """Append *wanted*'s layers and override the run-time fields it names.

    Deterministic: equal inputs give equal digests. Unknown JSON fields are preserved. Fusion layers for another
    architecture than the image's are left out. The caller has verified the digests and sizes of *wanted*'s layers.

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
    """The entries of *index* to augment: for each of *platforms* the best ones and, when there is none for some of
    them, what may be: nested indexes, to be looked into in turn, and manifests of which only the config tells.

    Raises:
        ManifestUnknown: nothing in the index is for any of *platforms*; the message says what is.
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
    """The positions of those of *entries* that a machine of *platform* prefers; several of them may be equal."""
    ranks = [platform.rank(entry.platform or {}) for entry in entries]
    lowest = min((rank for rank in ranks if rank is not None), default=None)
    return [position for position, rank in enumerate(ranks) if rank is not None and rank == lowest]


def deeper(depth: int) -> int:
    """The depth of what an index at *depth* names.

    Raises:
        ManifestInvalid: there are too many indexes within each other.
    """
    if depth == MAX_DEPTH:
        raise ManifestInvalid(f"The image has more than {MAX_DEPTH} indexes within each other")
    return depth + 1


def augment_index(index: Document, replaced: Mapping[Digest, Document]) -> Document:
    """Let *index* point at the documents that replaced those under the given digests, wherever it names them.

    Attestations about a replaced image go, for they would be about another one; other entries stay as they are.
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
    """See that the image of *config* is for one of *platforms*.

    Raises:
        ManifestUnknown: it is not.
    """
    wanted = tuple(platforms)
    if not any(platform.matches(config.fields) for platform in wanted):
        names = " and ".join(map(str, wanted))
        raise ManifestUnknown(f"The image is not made for {names}, but for {spelt(config.fields)}")


def _fitting(layers: Iterable[ContainerLayer], architecture: str) -> tuple[ContainerLayer, ...]:
    """*layers* without the Fusion layers for another architecture; all, when the image does not tell its own."""
    return tuple(layer for layer in layers if not architecture or _fusion_of(layer) in (None, architecture))


def _fusion_of(layer: ContainerLayer) -> str | None:
    found = _FUSION.search(layer.location)
    return canonical_architecture(found[1]) if found else None


def check_type(document: Document) -> None:
    """See that *document* and its registry agree on its media type: clients of another image would have to choose.

    Raises:
        ManifestInvalid: they do not.
    """
    if written := document.contradicts:
        raise ManifestInvalid(
            f"Nothing can be added to {document.digest}: its registry serves it as {document.kind or 'nothing known'}, "
            f"and it says that it is {written[:128]}"
        )


def check_manifest(document: Document) -> None:
    """See that *document* is a manifest that something could be added to, before its config is asked for.

    Raises:
        ImageUnsupported: it is of another kind.
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
    """The type of *layer* in *manifest*: of its family, for conversions; only the OCI's can be other than gzip."""
    if manifest.kind != DOCKER_MANIFEST:
        return layer.media_type or OCI_LAYER
    if layer.media_type not in {None, OCI_LAYER}:
        raise ImageUnsupported(f"The image is in Docker's format, to which no layer of {layer.media_type} can be added")
    return DOCKER_LAYER


def subject(entry: Descriptor) -> Digest | None:
    """The image that an entry of an index is an attestation about."""
    named = (entry.annotations or {}).get(_SUBJECT)
    return Digest(named) if named else None


def platform_names(entries: Iterable[Descriptor]) -> str:
    """The distinct platforms of *entries*, those of attestations aside."""
    named = [entry.platform for entry in entries if entry.platform and entry.platform.get("os") != "unknown"]
    return ", ".join(sorted({spelt(platform) for platform in named})) or "no platform at all"


def spelt(platform: Mapping[str, object]) -> str:
    parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
    return "/".join(str(part) for part in parts if part)
