"""Limits for reading an image's indexes: entries, fetches, bytes and time; cancelled with the caller.

An index of an attacker may name twenty thousand manifests of 4 MiB each; one request reads only a bounded part.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import ParamSpec

from registry_proxy.slots import TransferSlots
from swell.concurrency.deadline import SHARE, within
from swell.errors import ManifestInvalid, Unavailable
from swell.oci.descriptor import Descriptor
from swell.oci.document import Document

MAX_ENTRIES = 1000  # in all indexes that one request reads; large images have some dozens
MAX_FETCHES = 100  # documents that one request fetches from the registry
MAX_BYTES = 64 << 20
SECONDS = 45.0
CONCURRENT_WALKS = 128
PER_REGISTRY = 8

P = ParamSpec("P")


class Walk:
    """Counts the entries, fetches and bytes that one request reads of an image's indexes."""

    def __init__(self, slots: TransferSlots, registry: str, block: AsyncExitStack) -> None:
        self._slots = slots
        self._registry = registry
        self._block = block
        self._has_slot = False
        self._entries = 0
        self._fetches = 0
        self._bytes = 0

    def entries(self, index: Document) -> tuple[Descriptor, ...]:
        """Count and return the entries of *index*."""
        self.enter(index)
        return index.manifests

    def enter(self, index: Document) -> None:
        """Count the entries of *index*.

        Raises:
            ManifestInvalid: the request exceeds the limit of 1,000 entries.
        """
        self._entries += len(index.manifests)
        if self._entries > MAX_ENTRIES:
            raise ManifestInvalid(f"The image's indexes have more than {MAX_ENTRIES} entries")

    async def fetch(self, fetch: Callable[P, Awaitable[Document]], *args: P.args, **kwargs: P.kwargs) -> Document:
        """Return the document that *fetch* returns; count it and its bytes. See `count_fetch` and `read`."""
        await self.count_fetch()
        return self.read(await fetch(*args, **kwargs))

    async def count_fetch(self) -> None:
        """Count a request to the registry; the first one waits for a slot.

        Raises:
            ManifestInvalid: the limit of 100 fetches is exceeded.
        """
        self.check_caller()
        self._fetches += 1
        if self._fetches > MAX_FETCHES:
            raise ManifestInvalid(
                f"The image's indexes lead to more than {MAX_FETCHES} documents: pull the manifest first"
            )
        if not self._has_slot:
            await self._block.enter_async_context(self._slots.take(self._registry))
            self._has_slot = True

    def read(self, document: Document) -> Document:
        """Count the bytes of *document*.

        Raises:
            ManifestInvalid: the limit of 64 MiB is exceeded.
        """
        self._bytes += document.size
        if self._bytes > MAX_BYTES:
            raise ManifestInvalid(
                f"The image's indexes lead to more than {MAX_BYTES} bytes of documents: pull the manifest first"
            )
        return document

    @staticmethod
    def check_caller() -> None:
        """Raise `CancelledError` if the caller was cancelled, even if a client library suppressed that."""
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError


class Walks:
    """Limits the concurrent walks, in total and per registry, so that a slow registry delays only its own images."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._slots = TransferSlots(CONCURRENT_WALKS, PER_REGISTRY, seconds)
        self._seconds = seconds

    @asynccontextmanager
    async def begin(self, registry: str) -> AsyncIterator[Walk]:
        """Start a walk through an image of *registry*, which ends with the block.

        Raises:
            Unavailable: the walk takes longer than the limit.
        """
        try:
            async with asyncio.timeout(self._seconds), AsyncExitStack() as block:
                with within(self._seconds * SHARE):
                    yield Walk(self._slots, registry, block)
        except TimeoutError as error:
            raise Unavailable("the image's indexes could not be read in time", retry_after=10) from error
