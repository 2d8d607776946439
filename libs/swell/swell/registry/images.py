"""Images of one platform: manifest and config, read from a registry."""

from swell.errors import ManifestInvalid, ManifestUnknown
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.mutate import check_layers
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.oci.unambiguous import check_members_once
from swell.registry.client import RegistryClient
from swell.registry.pull import fetch_blob
from swell.registry.push import fetch_document

MAX_CONFIG = 8 << 20  # bytes


async def fetch_image(client: RegistryClient, reference: Reference, platform: Platform) -> Image:
    """Return the image of *reference* for *platform*; the reference may name an index.

    Raises:
        ManifestUnknown: it does not exist, or not for *platform*.
        ManifestInvalid: it is not an image.
        SwellError: the registry cannot be read.
    """
    document = await _document(client, reference)
    if document.is_index:
        best = platform.best(each.platform or {} for each in document.manifests)
        if best is None:
            raise ManifestUnknown(f"'{reference}' has no image for {platform}")
        entry = next(each for each in document.manifests if platform.rank(each.platform or {}) == best)
        document = await _document(client, reference.at(entry.digest))
    if not document.is_manifest:
        raise ManifestInvalid(f"'{reference}' is not an image")
    config = Document(document.config.media_type, await fetch_blob(client, reference, document.config, MAX_CONFIG))
    check_members_once(config.content)
    if not platform.matches(config.fields):
        raise ManifestUnknown(f"'{reference}' is not an image for {platform}")
    image = Image(document, config)
    check_layers(image)
    return image


async def _document(client: RegistryClient, reference: Reference) -> Document:
    document = await fetch_document(client, reference)
    if document is None:
        raise ManifestUnknown(f"the image '{reference}' does not exist")
    return document
