"""Descriptors: references to content inside a document.

Source: OCI image-spec, "OCI Content Descriptors", https://github.com/opencontainers/image-spec/blob/main/descriptor.md
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from swell.oci.digest import Digest


class Descriptor(Struct, frozen=True, rename="camel", kw_only=True):
    """A `digest`, the `size` of its content in bytes, and its `media_type`, which some index entries omit."""

    media_type: str = ""
    digest: Digest
    size: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    annotations: Mapping[str, str] | None = None
    platform: Mapping[str, object] | None = None

    @property
    def is_distributed(self) -> bool:
        """Whether registries store the content. Clients read other layers, such as those of Windows, elsewhere.

        Source: OCI image-spec, "Non-Distributable Layers",
        https://github.com/opencontainers/image-spec/blob/main/layer.md#non-distributable-layers
        """
        return not any(part in self.media_type for part in (".foreign.", ".nondistributable."))
