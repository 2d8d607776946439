"""Cancel builds: a build is stopped when no request is interested in it any more."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from msgspec import Struct

from gateway.audit.events import NO_AUDIT, Action, Audit
from swell.api.builds import Cancellation
from swell.errors import BuildEnded, NotFound, NotYours
from swell.jobs.messages import BuildDone
from swell.log import log
from swell.store.builds import Builds, CancelState
from swell.store.records import BuildResult


class CancelScope(Struct, frozen=True, kw_only=True):
    """The requests that give up their interest in a build.

    One request, named by its id; all requests of a `user`; or `all_requests`, for an operator. An id is as secret as a
    token.
    """

    request_id: str = ""
    user: str = ""
    all_requests: bool = False


class Events(Protocol):
    async def cancelled(self, build_id: str) -> None:
        """Publish to the builder of *build_id* that it should stop; it also polls the store, so events may be lost."""

    async def ended(self, event: BuildDone) -> None: ...


class Cancellations:
    def __init__(
        self,
        builds: Builds,
        events: Events,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        audit: Audit = NO_AUDIT,
    ) -> None:
        self._audit = audit
        self._builds = builds
        self._events = events
        self._now = now

    async def cancel(self, build_id: str, scope: CancelScope) -> Cancellation:
        """Remove the interest of *scope* in *build_id*, and cancel the build when no interest is left.

        The builds of its single platforms are cancelled in the same way.

        Raises:
            NotFound: the build is unknown.
            BuildEnded: the build has ended.
            NotYours: no request of *scope* is interested in the build.
        """
        result = BuildResult.never_begun(self._now())
        state, others, children = await self._builds.cancel(
            build_id, result, request_id=scope.request_id, user=scope.user, all_requests=scope.all_requests
        )
        match state:
            case CancelState.UNKNOWN:
                raise NotFound(f"no build {build_id}")
            case CancelState.ENDED:
                raise BuildEnded(f"the build {build_id} has ended already")
            case CancelState.REFUSED:
                raise NotYours(f"the build {build_id} was not asked for by this requestId, or by you")
        for cancelled_id, its_state in ((build_id, state), *children):
            log.info("build interest removed", build_id=cancelled_id, state=its_state, others=others)
            await self._publish(cancelled_id, its_state, result)
        actor = "operator" if scope.all_requests else ""
        self._audit.record(Action.CANCELLED, user=scope.user, actor=actor, subject=build_id)
        return Cancellation(id=build_id, cancelled=state is not CancelState.STILL_NEEDED, others=others)

    async def _publish(self, build_id: str, state: CancelState, result: BuildResult) -> None:
        if state is CancelState.STOPPING:
            await self._events.cancelled(build_id)
        elif state is CancelState.DEQUEUED and (build := await self._builds.get(build_id)):
            await self._events.ended(BuildDone.of(build_id, build.submission, result))
