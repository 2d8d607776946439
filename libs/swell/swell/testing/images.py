"""Images for tests: small, real, and each different from the next.

Every digest and size agrees with its bytes, and a layer can be unpacked.
"""

import gzip
import io
import json
import tarfile
from typing import Any

from msgspec import Struct

from swell.api.containers import ContainerLayer
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.media_types import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)
from swell.oci.platform import Platform, parse_platform


class Layer(Struct, frozen=True):
    """A tar with one file, and the same compressed."""

    tar: bytes
    gzipped: bytes

    @property
    def digest(self) -> Digest:
        return digest_of(self.gzipped)

    def to_add(self, location: str = "") -> ContainerLayer:
        """What a container config says of it."""
        return ContainerLayer(location, self.digest, len(self.gzipped), digest_of(self.tar))


class SampleImage(Struct, frozen=True):
    """An image of one platform with the bytes of its layers."""

    manifest: Document
    config: Document
    layers: tuple[Layer, ...]
    platform: Platform


def make_layer(text: str) -> Layer:
    """A layer with *text* in `/hello.txt`; the same text makes the same bytes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("hello.txt")
        member.size = len(text.encode())
        tar.addfile(member, io.BytesIO(text.encode()))
    return Layer(file.getvalue(), gzip.compress(file.getvalue(), mtime=0))


def make_image(text: str, *, platform: str = "linux/amd64", layers: int = 1, docker: bool = False) -> SampleImage:
    """An image whose *layers* hold *text*; of Docker's media types, or the OCI's."""
    manifest_type, config_type, layer_type = (
        (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER) if docker else (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER)
    )
    of, made = parse_platform(platform), tuple(make_layer(f"{text}, layer {number}") for number in range(layers))
    config = _document(
        config_type,
        **_platform_fields(of),
        config={"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["hello"]},
        rootfs={"type": "layers", "diff_ids": [digest_of(layer.tar) for layer in made]},
    )
    manifest = _document(
        manifest_type,
        schemaVersion=2,
        mediaType=manifest_type,
        config=_descriptor(config_type, config.content),
        layers=[_descriptor(layer_type, layer.gzipped) for layer in made],
    )
    return SampleImage(manifest, config, made, of)


def make_index(*children: tuple[Document, Platform | None], docker: bool = False) -> Document:
    """An index of *children*; a nested index has no platform."""
    media_type = DOCKER_LIST if docker else OCI_INDEX
    entries = [
        _descriptor(child.media_type, child.content) | ({"platform": _platform_fields(platform)} if platform else {})
        for child, platform in children
    ]
    return _document(media_type, schemaVersion=2, mediaType=media_type, manifests=entries)


def _document(media_type: str, **fields: object) -> Document:
    """Indented, as many tools push it, so that writing it anew makes other bytes."""
    return Document(media_type, json.dumps(fields, indent=3).encode())


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def _platform_fields(platform: Platform) -> dict[str, str]:
    fields = {"architecture": platform.architecture, "os": platform.os}
    return fields | ({"variant": platform.variant} if platform.variant else {})
