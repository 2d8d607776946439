"""Images: one platform's manifest with its config."""

from msgspec import Struct

from swell.oci.document import Document


class Image(Struct, frozen=True):
    """One platform's image: what it is made of, and how it runs."""

    manifest: Document
    config: Document
