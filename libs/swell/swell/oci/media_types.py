"""The media types of images, of Docker and of the OCI.

Sources: OCI image-spec, "OCI Image Media Types",
https://github.com/opencontainers/image-spec/blob/main/media-types.md; distribution, "Image Manifest V 2, Schema 2",
https://distribution.github.io/distribution/spec/manifest-v2-2/
"""

import re

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

OCI_ZSTD_LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_TAR_LAYER = "application/vnd.oci.image.layer.v1.tar"

SIF_CONFIG = "application/vnd.sylabs.sif.config.v1+json"
SIF_LAYER = "application/vnd.sylabs.sif.layer.v1.sif"
"""The types that `singularity push` and `apptainer push` use for a SIF file, the only layer of its manifest.

Source: https://github.com/apptainer/apptainer/blob/main/internal/pkg/client/oras/oras.go
"""

SCHEMA_1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
"""The types of old registries; such images are passed on unchanged and cannot be augmented."""

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})

DOCUMENTS = INDEXES | MANIFESTS | SCHEMA_1

OCTET_STREAM = "application/octet-stream"
"""The type of every blob response, which browsers neither render nor run."""

ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
"""The `Accept` header for upstream registries; it is the same for all clients, so responses can be shared."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_GRAMMAR = re.compile(rf"{_NAME}/{_NAME}")


def served_as(media_type: str) -> str:
    """Return *media_type* if it is valid in a header, else `application/octet-stream`.

    Source: RFC 6838, section 4.2, https://www.rfc-editor.org/rfc/rfc6838#section-4.2
    """
    return media_type if _GRAMMAR.fullmatch(media_type) else OCTET_STREAM


def manifest_type(media_type: str) -> str:
    """Return *media_type* if it is one of the known types of manifests and indexes, else `application/octet-stream`.

    A registry may call its manifest `text/html`: a browser would then run the scripts in it as this server's.
    """
    if media_type in DOCUMENTS:
        return media_type
    bare = media_type.partition(";")[0].strip().lower()
    return bare if bare in DOCUMENTS else OCTET_STREAM
