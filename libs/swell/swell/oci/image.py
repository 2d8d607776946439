"""Images: one platform's manifest with its config."""

from msgspec import Struct

from swell.oci.document import Document


class Image(Struct, frozen=True):
    """The image of one platform: its manifest and its config."""

    manifest: Document
    config: Document
