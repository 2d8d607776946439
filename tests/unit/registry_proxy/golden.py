"""An image whose bytes are known, and images made like it."""

import json
from typing import Any

from swell.api.containers import ContainerConfig, ContainerLayer
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.media_types import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)

BASE_TAR = "sha256:a32826ad161414ebdd8b3ab0c346437284f32d8a9cd48dee9d718213c6ece577"
BASE_GZIP = "sha256:1e93cf090ac787e2248b4e962d9496cd6ac868a58825a9ee0e318221969db529"
ADDED = ContainerLayer(
    location="",
    gzip_digest="sha256:bfb694a2446095b690d6e92eb6cc08c26620f178269abbc26e34f389306dde6f",
    gzip_size=124,
    tar_digest="sha256:86a5481b5f8a2930ec14dbb1afabb579af6e6f6f27c06690371efd060dc4eca2",
)
WANTED = ContainerConfig(
    entrypoint=("/usr/bin/wave",), env=("MODE=wave", "FOO=bar"), working_dir="/work", layers=(ADDED,)
)

GOLDEN_CONFIG = {
    "architecture": "amd64",
    "config": {
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "MODE=base"],
        "Entrypoint": ["/entry.sh", "--base"],
        "Cmd": ["run"],
        "WorkingDir": "/base",
        "Labels": {"a": "b"},
    },
    "created": "2024-01-01T00:00:00Z",
    "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "ADD hello.txt /"}],
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": [BASE_TAR]},
}
AMD64, ARM64 = "linux/amd64", "linux/arm64"


def encoded(fields: object) -> bytes:
    """Compact JSON by another hand than the code's."""
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def make_image(config: dict[str, Any], *, layers: list[dict[str, Any]] | None = None, docker: bool = False) -> Image:
    manifest_type, config_type, layer_type = (
        (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER) if docker else (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER)
    )
    made = Document(config_type, encoded(config))
    manifest = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": {"mediaType": config_type, "size": made.size, "digest": made.digest},
        "layers": [{"mediaType": layer_type, "size": 107, "digest": BASE_GZIP}] if layers is None else layers,
    }
    return Image(Document(manifest_type, encoded(manifest)), made)


def golden_image(architecture: str = "amd64", *, docker: bool = False) -> Image:
    return make_image(GOLDEN_CONFIG | {"architecture": architecture}, docker=docker)


def golden_index() -> Document:
    amd64, arm64 = golden_image("amd64").manifest, golden_image("arm64").manifest
    attestation = {
        "mediaType": OCI_MANIFEST,
        "digest": "sha256:7c7cc26684ee2764744fa61f4d41b53f45c0e726cef1cbc12c0acadcb0449942",
        "size": 246,
        "annotations": {
            "vnd.docker.reference.digest": amd64.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        },
        "platform": {"architecture": "unknown", "os": "unknown"},
    }
    return make_index(
        entry(amd64, architecture="amd64", os="linux"),
        entry(arm64, architecture="arm64", os="linux", variant="v8"),
        attestation,
    )


def entry(manifest: Document, **platform: str) -> dict[str, Any]:
    return {"mediaType": manifest.media_type, "digest": manifest.digest, "size": manifest.size, "platform": platform}


def make_index(*entries: dict[str, Any], media_type: str = OCI_INDEX) -> Document:
    return Document(media_type, encoded({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}))


def run_fields(image: Image) -> dict[str, Any]:
    fields: dict[str, Any] = image.config.fields["config"]
    return fields


def image_running(**run: Any) -> Image:
    return make_image(GOLDEN_CONFIG | {"config": run})


def hex_digest(document: Document) -> str:
    return document.digest.removeprefix("sha256:")
