"""Indexes: the images of several platforms under one name.

Source: OCI image-spec, image-index,
https://github.com/opencontainers/image-spec/blob/main/image-index.md
"""

from collections.abc import Sequence

import msgspec

from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX
from swell.oci.platform import parse_platform


def index_of(images: Sequence[tuple[str, Document]]) -> Document:
    """Return the index of *images*, pairs of platform and manifest. Equal inputs give equal bytes."""
    entries = [
        {
            "mediaType": manifest.media_type,
            "digest": manifest.digest,
            "size": manifest.size,
            "platform": _platform(platform),
        }
        for platform, manifest in images
    ]
    fields = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return Document(OCI_INDEX, msgspec.json.encode(fields))


def _platform(text: str) -> dict[str, str]:
    platform = parse_platform(text)
    named = {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant}
    return {name: value for name, value in named.items() if value}
