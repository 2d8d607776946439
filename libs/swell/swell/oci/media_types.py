"""The media types of images, Docker's and the OCI's.

Source: OCI image-spec, media-types.md; Docker image manifest version 2, schema 2.
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

SCHEMA_1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
"""What registries of long ago have; such an image is passed on, and nothing can be added to it."""

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})

DOCUMENTS = INDEXES | MANIFESTS | SCHEMA_1

OCTET_STREAM = "application/octet-stream"
"""What blobs are sent as, whatever a manifest says of them: no browser shows or runs it."""

ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
"""What we ask upstream registries for, whatever our client accepts: one answer serves all clients."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_GRAMMAR = re.compile(rf"{_NAME}/{_NAME}")


def served_as(media_type: str) -> str:
    """*media_type* where it can be told in a header, else what bytes are of which nothing is known.

    Source: RFC 6838, 4.2.
    """
    return media_type if _GRAMMAR.fullmatch(media_type) else OCTET_STREAM


def manifest_type(media_type: str) -> str:
    """*media_type* if it is one of the known types of manifests and indexes, else `application/octet-stream`.

    A registry may call its manifest `text/html`: a browser would then run the scripts in it as this server's.
    """
    if media_type in DOCUMENTS:
        return media_type
    bare = media_type.partition(";")[0].strip().lower()
    return bare if bare in DOCUMENTS else OCTET_STREAM
