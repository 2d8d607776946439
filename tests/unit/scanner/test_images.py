"""Which manifests are those of SIF files."""

import msgspec
import pytest

from scanner.adapters.images import is_sif
from swell.oci.document import Document
from swell.oci.media_types import DOCKER_CONFIG, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, SIF_CONFIG, SIF_LAYER

DIGEST = "sha256:" + "a" * 64


def manifest(config: str, *layers: str) -> Document:
    fields = {
        "config": {"mediaType": config, "digest": DIGEST, "size": 1},
        "layers": [{"mediaType": layer, "digest": DIGEST, "size": 1} for layer in layers],
    }
    return Document(OCI_MANIFEST, msgspec.json.encode(fields))


@pytest.mark.parametrize(
    ("config", "layers", "expected"),
    [
        (SIF_CONFIG, [SIF_LAYER], True),
        ("application/vnd.unknown.config.v1+json", [SIF_LAYER], True),
        (OCI_CONFIG, [SIF_LAYER], False),
        (DOCKER_CONFIG, [SIF_LAYER], False),
        (OCI_CONFIG, [OCI_LAYER], False),
        (SIF_CONFIG, [SIF_LAYER, OCI_LAYER], False),
    ],
)
def test_an_image_is_not_scanned_as_a_sif_file(config: str, layers: list[str], expected: bool) -> None:
    """A file can be a SIF file and a gzip stream at once: the scan would see other files than an engine unpacks."""
    assert is_sif(manifest(config, *layers)) is expected
