"""OCI layouts of images that no build makes."""

import io
import json
import tarfile
from pathlib import Path

from builder.sif.layout import Layout
from swell.oci.digest import digest_of
from swell.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size = len(content)
    for field, value in fields.items():
        setattr(made, field, value)
    return made, content


def tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for made, content in members:
            archive.addfile(made, io.BytesIO(content))
    return buffer.getvalue()


def layout_of(directory: Path, *layers: bytes, architecture: str = "amd64") -> Layout:
    """An OCI layout in *directory* of an image of *layers*."""

    def put(media_type: str, content: bytes) -> dict[str, object]:
        digest = digest_of(content)
        path = directory / "blobs/sha256" / digest.partition(":")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    manifest = {
        "schemaVersion": 2,
        "config": put(OCI_CONFIG, json.dumps({"architecture": architecture}).encode()),
        "layers": [put(OCI_LAYER, layer) for layer in layers],
    }
    entry = put(OCI_MANIFEST, json.dumps(manifest).encode())
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return Layout(directory)
