"""Start the builds of several platforms, and the index of their images."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from msgspec.structs import replace

from gateway.domain.access.identity import Caller
from gateway.domain.token import new_token
from gateway.submit.builds.existing import ExistingImages
from gateway.submit.builds.same_inputs import check_same_inputs
from gateway.submit.builds.start_result import StartedBuild
from gateway.submit.request import BuildRequest
from gateway.submit.spec import submission_of, target_reference
from swell.errors import SwellError
from swell.store.builds import Builds
from swell.store.records import Child, Submission

StartBuild = Callable[[BuildRequest, Submission, str | None, Caller], Awaitable[StartedBuild]]
Enqueue = Callable[[Submission, str | None], Awaitable[StartedBuild]]
Withdraw = Callable[[str, str, Caller], Awaitable[None]]


class MultiPlatformBuilds:
    """Starts the builds of a request for several platforms; each is an ordinary build, and the index is the last one.

    *start_build* starts the build of one platform; *enqueue* stores the build of the index. Both get the id of the
    build that the new one replaces. *withdraw* cancels the build of a request that failed.
    """

    def __init__(
        self,
        existing: ExistingImages,
        builds: Builds,
        *,
        start_build: StartBuild,
        enqueue: Enqueue,
        withdraw: Withdraw,
        now: Callable[[], datetime],
    ) -> None:
        self._existing = existing
        self._builds = builds
        self._start_build = start_build
        self._enqueue = enqueue
        self._withdraw = withdraw
        self._now = now

    async def start(
        self, parts: Sequence[BuildRequest], submission: Submission, replaced: str | None, caller: Caller
    ) -> list[StartedBuild]:
        """Start the build of each platform, then the index of all; cancel what was started if one of them fails."""
        children = list[StartedBuild]()
        try:
            for part in parts:
                children.append(await self._start_part(part, submission, caller))
            index = replace(submission, children=tuple(map(_child, children)))
            return [*children, await self._enqueue(index, replaced)]
        except SwellError:
            for build_id in (child.build_id for child in children if child.is_new and child.build_id):
                await self._withdraw(build_id, new_token(), caller)
            raise

    async def _start_part(self, part: BuildRequest, parent: Submission, caller: Caller) -> StartedBuild:
        """Find or start the build of one platform; its tag is in the repository of *parent*."""
        submission = submission_of(part, caller, self._now(), parent=parent)
        latest = await self._builds.latest(submission.target_image)
        await check_same_inputs(self._builds, latest, submission)
        if latest and latest.is_active and not latest.submission.mirror:
            return StartedBuild(submission=submission, build_id=latest.id)
        reference = target_reference(submission)
        if not part.rebuild and await self._existing.is_in_registry(reference, caller.principal):
            return StartedBuild(submission=submission)
        submission = replace(submission, is_repeated=latest is not None)
        return await self._start_build(part, submission, latest.id if latest else None, caller)


def _child(started: StartedBuild) -> Child:
    submission = started.submission
    return Child(platform=submission.platform, target_image=submission.target_image, build_id=started.build_id)
