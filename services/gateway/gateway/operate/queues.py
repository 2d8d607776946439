"""The queues of builds: how many wait and run, whose they are, and which they are."""

from collections.abc import Sequence
from typing import Protocol

from gateway.operate.pages import number_of, page_of, page_size
from swell.api.operator import QueueClient, QueuedBuild, QueuedBuildPage, QueuePage
from swell.store.backlog import Backlog


class View(Protocol):
    """Raises `Unavailable` when the store does not answer."""

    async def clients(self) -> tuple[Sequence[str], bool]:
        """Return the clients with builds that have not ended, by name, and whether all builds were read."""

    async def queues(self, clients: Sequence[str]) -> Sequence[QueueClient]: ...

    async def builds(self, client: str | None, start: int, limit: int) -> Sequence[QueuedBuild]:
        """Return *limit* builds from the place *start*: of *client*, or all that were released from their queues."""


class Totals(Protocol):
    async def read(self) -> Backlog: ...


class QueueQueries:
    def __init__(self, view: View, totals: Totals) -> None:
        self._view = view
        self._totals = totals

    async def page(self, cursor: str | None, limit: int | None) -> QueuePage:
        """The totals and a page of clients by name; raises `BadRequest` for wrong parameters."""
        names, is_complete = await self._view.clients()
        page, following = page_of(names, lambda name: name, cursor, limit)
        totals = await self._totals.read()
        return QueuePage(
            waiting=totals.waiting,
            ready=totals.ready,
            running=totals.running,
            unpublished=totals.unpublished,
            oldest_waiting=totals.oldest_waiting,
            oldest_ready=totals.oldest_ready,
            is_complete=is_complete,
            clients=tuple(await self._view.queues(page)),
            next=following,
        )

    async def builds(self, client: str | None, cursor: str | None, limit: int | None) -> QueuedBuildPage:
        """A page of the builds of *client*, or of all builds that were released; raises `BadRequest`.

        Builds that end meanwhile move the others forward: a later page may lack some.
        """
        start, size = number_of(cursor), page_size(limit)
        builds = await self._view.builds(client, start, size + 1)
        following = str(start + size) if len(builds) > size else None
        return QueuedBuildPage(builds=tuple(builds[:size]), next=following)
