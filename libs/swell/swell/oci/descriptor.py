"""Descriptors: how a document points at content.

Source: OCI image-spec, descriptor.md.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from swell.oci.digest import Digest


class Descriptor(Struct, frozen=True, rename="camel", kw_only=True):
    """What `digest` names, and its `size` in bytes; `media_type` is empty where an index entry does not tell."""

    media_type: str = ""
    digest: Digest
    size: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    annotations: Mapping[str, str] | None = None
    platform: Mapping[str, object] | None = None
