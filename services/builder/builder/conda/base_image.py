"""The base image of a build: read from its registry, with its layers copied to the target repository."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cachetools import LRUCache

from builder.domain.failure import BuildFailure
from swell.errors import ManifestInvalid, ManifestUnknown, SwellError
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.mutate import check_layers
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.registry.client import RegistryClient
from swell.registry.principal import Principal
from swell.registry.pull import download_blob, fetch_blob
from swell.registry.push import RegistryPush, fetch_document
from swell.store.records import Reason

_CONFIG_BYTES = 8 << 20
_LAYER_BYTES = 20 << 30
MAX_COPIED = 100_000

Copied = LRUCache[tuple[str, str, Principal, Digest], None]
"""Layers by target repository, source repository, principal and digest."""


class BaseImage:
    """Reads with *client*, which sends the credentials of *principal*; all methods raise `BuildFailure`.

    *copied* are the layers that builds of this process have fetched: a target's repository may have other layers, but
    a client that names only their digests does not get them.
    """

    def __init__(self, client: RegistryClient, push: RegistryPush, principal: Principal, copied: Copied) -> None:
        self._client = client
        self._push = push
        self._principal = principal
        self._copied = copied

    async def fetch(self, reference: Reference, platform: Platform) -> Image:
        """Return the image of *reference* for *platform*; the reference may name an index."""
        with _from(reference):
            document = await self._document(reference)
            if document.is_index:
                best = platform.best(each.platform or {} for each in document.manifests)
                if best is None:
                    raise ManifestUnknown(f"'{reference}' has no image for {platform}")
                entry = next(each for each in document.manifests if platform.rank(each.platform or {}) == best)
                document = await self._document(reference.at(entry.digest))
            if not document.is_manifest:
                raise ManifestInvalid(f"'{reference}' is not an image")
            config = Document(
                document.config.media_type, await fetch_blob(self._client, reference, document.config, _CONFIG_BYTES)
            )
            if not platform.matches(config.fields):
                raise ManifestUnknown(f"'{reference}' is not an image for {platform}")
            image = Image(document, config)
            check_layers(image)
            return image

    async def copy(self, layer: Descriptor, source: Reference, target: Reference, scratch: Path) -> None:
        """Copy *layer* from *source* to *target*'s repository; download it to *scratch* if it cannot be mounted."""
        if source.registry == target.registry and await self._push.mount(target, layer.digest, source):
            return
        key = target.name, source.name, self._principal, layer.digest
        if key in self._copied and await self._push.has_blob(target, layer.digest):
            return
        try:
            with _from(source):
                await download_blob(self._client, source, layer, scratch, _LAYER_BYTES)
            await self._push.blob(target, layer.digest, scratch)
            self._copied[key] = None
        finally:
            scratch.unlink(missing_ok=True)

    async def _document(self, reference: Reference) -> Document:
        document = await fetch_document(self._client, reference)
        if document is None:
            raise ManifestUnknown(f"the image '{reference}' does not exist")
        return document


@contextmanager
def _from(reference: Reference) -> Iterator[None]:
    try:
        yield
    except SwellError as error:
        if isinstance(error, BuildFailure):
            raise
        raise BuildFailure(Reason.BASE_IMAGE, f"The base image {reference} cannot be read: {error}.") from error
