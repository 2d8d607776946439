"""Walking an image's indexes: bounded in entries, fetches, bytes and time, and cancelled with its caller.

A stranger's index may name twenty thousand manifests of 4 MiB each; a request reads a few of them at most.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from registry_proxy.slots import TransferSlots
from swell.errors import ManifestInvalid, Unavailable
from swell.oci.descriptor import Descriptor
from swell.oci.document import Document

MAX_ENTRIES = 1000  # of all indexes on the way; the largest images have some dozens
MAX_FETCHES = 100  # documents that one request has a registry asked for
MAX_BYTES = 64 << 20
SECONDS = 45.0
AT_ONCE = 128
OF_ONE_REGISTRY = 8


class Walk:
    """What one request has read so far of an image's indexes."""

    def __init__(self, slots: TransferSlots, registry: str, held: AsyncExitStack) -> None:
        self._slots = slots
        self._registry = registry
        self._held = held
        self._has_slot = False
        self._entries = 0
        self._fetches = 0
        self._bytes = 0

    def entries(self, index: Document) -> tuple[Descriptor, ...]:
        """The entries of *index*, which are counted."""
        self.enter(index)
        return index.manifests

    def enter(self, index: Document) -> None:
        """Count the entries of *index*.

        Raises:
            ManifestInvalid: there are too many.
        """
        self._entries += len(index.manifests)
        if self._entries > MAX_ENTRIES:
            raise ManifestInvalid(f"The image's indexes have more than {MAX_ENTRIES} entries")

    async def fetch(self) -> None:
        """Count a question to the registry; the first one waits for a slot.

        Raises:
            ManifestInvalid: there were too many.
        """
        self.check_caller()
        self._fetches += 1
        if self._fetches > MAX_FETCHES:
            raise ManifestInvalid(
                f"The image's indexes lead to more than {MAX_FETCHES} documents: ask for the manifest first"
            )
        if not self._has_slot:
            await self._held.enter_async_context(self._slots.take(self._registry))
            self._has_slot = True

    def read(self, document: Document) -> Document:
        """Count the bytes of *document*.

        Raises:
            ManifestInvalid: there were too many.
        """
        self._bytes += document.size
        if self._bytes > MAX_BYTES:
            raise ManifestInvalid(
                f"The image's indexes lead to more than {MAX_BYTES} bytes of documents: ask for the manifest first"
            )
        return document

    @staticmethod
    def check_caller() -> None:
        """Raise `CancelledError` when the caller has gone, also where a client library swallowed the cancellation."""
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError


class Walks:
    """Some walks ask registries at one time, and fewer one registry: a slow one holds up its own images only."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._slots = TransferSlots(AT_ONCE, OF_ONE_REGISTRY, seconds)
        self._seconds = seconds

    @asynccontextmanager
    async def begin(self, registry: str) -> AsyncIterator[Walk]:
        """A walk through an image of *registry*, which ends with the block.

        Raises:
            Unavailable: it has taken too long.
        """
        try:
            async with asyncio.timeout(self._seconds), AsyncExitStack() as held:
                yield Walk(self._slots, registry, held)
        except TimeoutError as error:
            raise Unavailable("the image's indexes could not be read in time", retry_after=10) from error
