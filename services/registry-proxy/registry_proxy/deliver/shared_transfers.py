"""Running transfers. Readers share one only if blob, registry, repository and principal are the same.

A reader of another repository gets a separate transfer, so a slow or malicious registry affects only its own readers.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Generic, Protocol, Self, TypeVar

from registry_proxy.deliver.transfer import BlobFile, Extent, Transfer
from registry_proxy.domain.link import Link, Origin, Scope
from registry_proxy.domain.ranges import Span
from swell.disk import in_thread
from swell.errors import SwellError, Unavailable
from swell.log import log

AHEAD = 16 << 20  # bytes; a range that begins further ahead is fetched separately
IDLE_LIFETIME = timedelta(seconds=30)  # a transfer without readers runs so long: disconnected clients resume
COMPARE_BYTES = 1 << 20  # read at a time

_Key = tuple[Scope, Origin, bool]


class Owner(Protocol):
    """The transfer that writes an incomplete file."""

    @property
    def readers(self) -> int: ...

    def evict(self) -> None:
        """Stop writing: the disk space is needed, and the file has no reader."""


class TransferFile(BlobFile, Protocol):
    owner: Owner | None

    def drop(self) -> None: ...


F = TypeVar("F", bound=TransferFile)


class Transfers(Generic[F]):
    """At most one transfer of a blob in a scope. It continues when the reader that started it disconnects."""

    def __init__(
        self,
        new_file: Callable[[Link], F | None],
        fetch: Callable[[Link, Transfer, F], Awaitable[None]],
        idle_lifetime: timedelta = IDLE_LIFETIME,
    ) -> None:
        """*fetch* fills a transfer; *new_file* creates its file, or returns None if the disk has no space.

        A transfer without readers is cancelled after *idle_lifetime*.
        """
        self._new_file = new_file
        self._fetch = fetch
        self._idle_lifetime = idle_lifetime
        self._running: dict[_Key, Transfer] = {}
        self._tasks: dict[Transfer, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel the transfers that still run, and wait for their end."""
        for task in self._tasks.values():
            task.cancel()
        await self._group.__aexit__(None, None, None)

    def find_or_start(self, link: Link, span: Span) -> Transfer | None:
        """Return the transfer that will soon have *span*; None if a separate request is faster."""
        if transfer := self._running.get(_key(link)):
            is_soon = transfer.is_whole or span.start <= transfer.arrived + AHEAD
            return transfer if transfer.size == link.size and is_soon else None
        if span.stop < link.size or span.start > AHEAD:
            return None
        return self._start(link)

    def _start(self, link: Link) -> Transfer | None:
        file = self._new_file(link)
        if file is None:
            return None
        transfer = self._running[_key(link)] = Transfer(file, link.size, self._on_idle)
        task = self._tasks[transfer] = self._group.create_task(self._run(link, transfer, file))
        task.add_done_callback(lambda _: self._tasks.pop(transfer))
        file.owner = _Writer(transfer, task)
        return transfer

    def _on_idle(self, transfer: Transfer) -> None:
        def cancel_if_idle() -> None:
            if not (transfer.readers or transfer.is_whole) and (task := self._tasks.get(transfer)):
                task.cancel()

        asyncio.get_running_loop().call_later(self._idle_lifetime.total_seconds(), cancel_if_idle)

    async def _run(self, link: Link, transfer: Transfer, file: F) -> None:
        """Fetch the blob for all readers; they get the error if it fails."""
        try:
            with file.opened():
                await self._fetch(link, transfer, file)
        except asyncio.CancelledError:
            self._end(link, transfer, Unavailable("the transfer was cancelled: send the request again"))
            raise
        except SwellError as error:
            self._end(link, transfer, error)
        except Exception:  # noqa: BLE001 (top of a task: its readers must get an error)
            log.exception("blob not fetched", digest=link.digest)
            self._end(link, transfer, SwellError())
        finally:
            self._remove(link, transfer)
            if not transfer.is_whole:
                file.drop()

    def _end(self, link: Link, transfer: Transfer, error: SwellError) -> None:
        """Remove the transfer, then pass *error* to its readers, who may start another one immediately."""
        self._remove(link, transfer)
        transfer.end(error)

    def _remove(self, link: Link, transfer: Transfer) -> None:
        if self._running.get(_key(link)) is transfer:
            del self._running[_key(link)]


class _Writer:
    """The owner of a transfer's file: cancels the task that writes it."""

    def __init__(self, transfer: Transfer, task: asyncio.Task[None]) -> None:
        self._transfer = transfer
        self._task = task

    @property
    def readers(self) -> int:
        return self._transfer.readers

    def evict(self) -> None:
        self._task.cancel()


async def have_same_bytes(first: Transfer, second: Transfer, span: Span) -> bool:
    """Return whether both have the same bytes in *span*: *first* has them, *second* may still receive them.

    The caller reads both inside their `joined` blocks.

    Raises:
        SwellError: *second* failed.
    """
    async for extent in second.extents(span):
        for start in range(extent.start, extent.stop, COMPARE_BYTES):
            part = Span(start, min(start + COMPARE_BYTES, extent.stop))
            one, other = (
                await in_thread(_read, first.file.extent(part)),
                await in_thread(_read, second.file.extent(part)),
            )
            if one != other:
                return False
    return True


def _read(extent: Extent) -> bytes:
    return os.pread(extent.descriptor, extent.stop - extent.start, extent.start)


def _key(link: Link) -> _Key:
    return link.scope, link.origin, link.relayed
