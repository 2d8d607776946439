"""What the page of an image shows: its layers with the instructions that made them, and what it is made from."""

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from swell.api.inspect import ContainerInfo, HistoryEntry, IndexEntry, IndexInfo, Referrer

MOST_ROWS = 150
LONGEST_INSTRUCTION = 300  # characters
_BASE_NAME, _BASE_DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"


class LayerRow(Struct, frozen=True):
    """An instruction and the layer that it made: `size` is in bytes, `share` in percent; no digest without a layer."""

    instruction: str
    digest: str = ""
    size: int = 0
    share: float = 0


class PlatformRow(Struct, frozen=True):
    """An image of an index; `size` is that of its manifest. An attestation is no image that runs."""

    name: str
    digest: str
    media_type: str
    is_attestation: bool


def layer_rows(image: ContainerInfo) -> tuple[LayerRow, ...]:
    """The instructions and layers of *image* in their order; layers without a history come last."""
    layers = list(image.manifest.layers or ())
    total = sum(layer.size for layer in layers) or 1
    rows, waiting = list[LayerRow](), iter(layers)
    for entry in image.config.history:
        layer = None if entry.empty_layer else next(waiting, None)
        instruction = instruction_of(entry)
        if layer is None:
            rows.append(LayerRow(instruction))
        else:
            rows.append(LayerRow(instruction, layer.digest, layer.size, round(layer.size / total * 100, 2)))
    rows += (LayerRow("", layer.digest, layer.size, round(layer.size / total * 100, 2)) for layer in waiting)
    return tuple(rows)


def instruction_of(entry: HistoryEntry) -> str:
    """The instruction as the author of the container file wrote it, as far as the builder kept it."""
    text = entry.created_by or entry.comment
    text = text.removeprefix("/bin/sh -c #(nop) ").removesuffix("# buildkit").strip()
    if text.startswith("/bin/sh -c "):
        text = f"RUN {text.removeprefix('/bin/sh -c ')}"
    return f"{text[:LONGEST_INSTRUCTION]}…" if len(text) > LONGEST_INSTRUCTION else text


def base_of(image: ContainerInfo) -> tuple[str, str]:
    """The name and the digest of the base image, which builders write as annotations or labels; empty if unknown."""
    labels = image.config.config.labels if image.config.config else {}
    known = labels | (image.manifest.annotations or {})
    return known.get(_BASE_NAME, ""), known.get(_BASE_DIGEST, "")


def platform_rows(index: IndexInfo) -> Iterator[PlatformRow]:
    """The images of *index*, those that run first."""
    rows = [_platform_row(entry) for entry in index.manifests]
    return iter(sorted(rows, key=lambda row: row.is_attestation))


def _platform_row(entry: IndexEntry) -> PlatformRow:
    platform = entry.platform
    parts = (platform.os, platform.architecture, platform.variant) if platform else ()
    name = "/".join(part for part in parts if part and part != "unknown")
    is_attestation = "vnd.docker.reference.type" in (entry.annotations or {})
    return PlatformRow(name or "no platform", entry.digest, entry.media_type or "", is_attestation)


_KINDS = (
    ("https://sigstore.dev/cosign/sign/", "signature"),
    ("https://slsa.dev/provenance/", "provenance"),
    ("https://spdx.dev/Document", "SBOM (SPDX)"),
    ("https://cyclonedx.org/bom", "SBOM (CycloneDX)"),
    ("application/spdx", "SBOM (SPDX)"),
    ("application/vnd.cyclonedx", "SBOM (CycloneDX)"),
    ("application/vnd.dev.cosign", "signature"),
    ("application/vnd.cncf.notary.signature", "signature"),
    ("application/vnd.dev.sigstore.bundle", "sigstore bundle"),
    ("application/vnd.in-toto", "attestation"),
)
_PREDICATES = ("dev.sigstore.bundle.predicateType", "in-toto.io/predicate-type")


def kind_of(referrer: Referrer) -> str:
    """What *referrer* is, in a word: by the type of its statement, or else of its artifact; as it says of itself."""
    annotations = referrer.annotations or {}
    names = *(annotations.get(name, "") for name in _PREDICATES), referrer.artifact_type or ""
    found = (word for name in names for prefix, word in _KINDS if name.startswith(prefix))
    return next(found, "other artifact")


def pretty(value: object) -> str:
    """*value* as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
