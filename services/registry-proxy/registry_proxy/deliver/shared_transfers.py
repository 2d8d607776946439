"""Transfers under way, shared by the readers of one blob in one repository as one principal, and by no others.

A reader of another repository gets a transfer of its own: what a registry sends, and how slowly, concerns only those
who asked for it there.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

from registry_proxy.deliver import transfer
from registry_proxy.deliver.transfer import Extent, Transfer
from registry_proxy.domain.link import Link, Origin, Scope
from registry_proxy.domain.ranges import Span
from swell.disk import in_thread
from swell.errors import SwellError, Unavailable
from swell.log import log

AHEAD = 16 << 20  # bytes; a part that begins further on is fetched by itself, not waited for
IDLE_LIFETIME = timedelta(
    seconds=30
)  # a transfer without readers goes on so long: clients come back where they were cut
COMPARED = 1 << 20  # bytes at a time

_Key = tuple[Scope, Origin, bool]


class Owner(Protocol):
    """Who writes a file that is not whole yet."""

    @property
    def readers(self) -> int: ...

    def evict(self) -> None:
        """Stop writing: the file's room was needed, and there is no reader."""


class File(transfer.File, Protocol):
    owner: Owner | None

    def drop(self) -> None: ...


F = TypeVar("F", bound=File)


class Transfers(Generic[F]):
    """At most one transfer of a blob in a scope. It goes on without the reader that began it."""

    def __init__(
        self,
        new_file: Callable[[Link], F | None],
        fetch: Callable[[Link, Transfer, F], Awaitable[None]],
        forsaken: timedelta = IDLE_LIFETIME,
    ) -> None:
        """*fetch* brings the blob into a transfer; *new_file* gives it its file, or None when there is no room."""
        self._new_file = new_file
        self._fetch = fetch
        self._forsaken_after = forsaken
        self._under_way: dict[_Key, Transfer] = {}
        self._tasks: dict[Transfer, asyncio.Task[None]] = {}

    def find_or_start(self, link: Link, span: Span) -> Transfer | None:
        """The transfer that will have *span* soon; None when it is better fetched by itself."""
        if running := self._under_way.get(_key(link)):
            is_soon = running.is_whole or span.start <= running.arrived + AHEAD
            return running if running.size == link.size and is_soon else None
        if span.stop < link.size or span.start > AHEAD:
            return None
        return self._begin(link)

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, link: Link) -> Transfer | None:
        file = self._new_file(link)
        if file is None:
            return None
        begun = self._under_way[_key(link)] = Transfer(file, link.size, self._forsake)
        task = self._tasks[begun] = asyncio.create_task(self._run(link, begun, file))
        task.add_done_callback(lambda _: self._tasks.pop(begun))
        file.owner = _Writer(begun, task)
        return begun

    def _forsake(self, begun: Transfer) -> None:
        def give_up() -> None:
            if not (begun.readers or begun.is_whole) and (task := self._tasks.get(begun)):
                task.cancel()

        asyncio.get_running_loop().call_later(self._forsaken_after.total_seconds(), give_up)

    async def _run(self, link: Link, begun: Transfer, file: F) -> None:
        """Bring the blob here for all readers; an error goes to them."""
        try:
            with file.held():
                await self._fetch(link, begun, file)
        except asyncio.CancelledError:
            self._end(link, begun, Unavailable("the transfer was given up: ask again"))
            raise
        except SwellError as error:
            self._end(link, begun, error)
        except Exception:  # noqa: BLE001 (a task of its own: its readers must get an error)
            log.exception("blob not fetched", digest=link.digest)
            self._end(link, begun, SwellError())
        finally:
            self._leave(link, begun)
            if not begun.is_whole:
                file.drop()

    def _end(self, link: Link, begun: Transfer, error: SwellError) -> None:
        """Readers that are notified of *error* may begin another transfer at once."""
        self._leave(link, begun)
        begun.end(error)

    def _leave(self, link: Link, begun: Transfer) -> None:
        if self._under_way.get(_key(link)) is begun:
            del self._under_way[_key(link)]


class _Writer:
    """The owner of a transfer's file."""

    def __init__(self, begun: Transfer, task: asyncio.Task[None]) -> None:
        self._begun = begun
        self._task = task

    @property
    def readers(self) -> int:
        return self._begun.readers

    def evict(self) -> None:
        self._task.cancel()


async def have_same_bytes(first: Transfer, second: Transfer, span: Span) -> bool:
    """Whether both have the same bytes in *span*, which *first* has and *second* is waited for; both are joined.

    Raises:
        SwellError: what ended *second*.
    """
    async for extent in second.extents(span):
        for start in range(extent.start, extent.stop, COMPARED):
            part = Span(start, min(start + COMPARED, extent.stop))
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
