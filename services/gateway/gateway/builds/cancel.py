"""Cancelling a build: whoever asked for it leaves it, and the last one turns off the light."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from msgspec import Struct

from swell.api.builds import Cancellation
from swell.errors import BuildEnded, NotFound, NotYours
from swell.jobs.messages import BuildDone
from swell.log import log
from swell.store.builds import Builds, CancelState
from swell.store.records import BuildResult


class CancelScope(Struct, frozen=True, kw_only=True):
    """Who leaves a build: one request, named by its id, which is as good as its token; all requests of a *user*; or
    everybody, as the operator says."""

    request_id: str = ""
    user: str = ""
    everybody: bool = False


class News(Protocol):
    async def cancelled(self, build_id: str) -> None:
        """Tell the builder that has *build_id*; a word that gets lost is made up for by what is stored."""

    async def ended(self, event: BuildDone) -> None: ...


class Cancellations:
    def __init__(self, builds: Builds, news: News, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._builds = builds
        self._news = news
        self._now = now

    async def cancel(self, build_id: str, wish: CancelScope) -> Cancellation:
        """Leave *build_id* to the others who want it; when there are none, it is cancelled, together with the builds of
        its platforms that nobody else wants.

        Raises:
            NotFound: there is no such build.
            BuildEnded: too late.
            NotYours: whoever wishes it has no part in the build.
        """
        result = BuildResult.never_begun(self._now())
        left, others, children = await self._builds.cancel(
            build_id, result, request_id=wish.request_id, user=wish.user, all_requests=wish.everybody
        )
        match left:
            case CancelState.UNKNOWN:
                raise NotFound(f"no build {build_id}")
            case CancelState.ENDED:
                raise BuildEnded(f"the build {build_id} has ended already")
            case CancelState.REFUSED:
                raise NotYours(f"the build {build_id} was not asked for by this requestId, or by you")
        for each, how in ((build_id, left), *children):
            log.info("build left", build_id=each, left=how, others=others)
            await self._tell(each, how, result)
        return Cancellation(id=build_id, cancelled=left is not CancelState.STILL_NEEDED, others=others)

    async def _tell(self, build_id: str, left: CancelState, result: BuildResult) -> None:
        if left is CancelState.STOPPING:
            await self._news.cancelled(build_id)
        elif left is CancelState.DEQUEUED and (build := await self._builds.get(build_id)):
            await self._news.ended(BuildDone.of(build_id, build.submission, result))
