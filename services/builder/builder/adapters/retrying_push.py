"""A `RegistryPush` whose requests are repeated while the registry fails temporarily."""

from functools import partial
from pathlib import Path

from builder.domain.time_limit import retry_push
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.reference import Reference
from swell.registry.credentials.principal import Principal
from swell.registry.push import RegistryPush


class RetryingPush(RegistryPush):
    """Each method raises `BuildFailure` if the registry refuses the request, or fails until the build's time ends."""

    def acting_for(self, principal: Principal) -> "RetryingPush":
        return RetryingPush(self._client.acting_for(principal), self._translation)

    async def blob(self, repository: Reference, digest: Digest, content: bytes | Path) -> None:
        await retry_push(partial(super().blob, repository, digest, content))

    async def document(self, reference: Reference, document: Document) -> Digest:
        return await retry_push(partial(super().document, reference, document))

    async def fetch(self, reference: Reference) -> Document | None:
        return await retry_push(partial(super().fetch, reference))

    async def mount(self, repository: Reference, digest: Digest, source: Reference) -> bool:
        return await retry_push(partial(super().mount, repository, digest, source))

    async def has_blob(self, repository: Reference, digest: Digest) -> bool:
        return await retry_push(partial(super().has_blob, repository, digest))
