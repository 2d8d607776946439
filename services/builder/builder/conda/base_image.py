"""The base image of a build: read from its registry, with its layers copied to the target repository."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cachetools import LRUCache

from builder.domain.failure import BuildFailure
from swell.errors import SwellError
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.image import Image
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.registry.client import RegistryClient
from swell.registry.credentials.principal import Principal
from swell.registry.images import fetch_image
from swell.registry.pull import download_blob
from swell.registry.push import RegistryPush
from swell.store.records import Reason

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
            return await fetch_image(self._client, reference, platform)

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


@contextmanager
def _from(reference: Reference) -> Iterator[None]:
    try:
        yield
    except SwellError as error:
        if isinstance(error, BuildFailure):
            raise
        raise BuildFailure(Reason.BASE_IMAGE, f"The base image {reference} cannot be read: {error}.") from error
