"""Following what was started: the state of a request, of a build, and the build's log."""

import re
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec
from msgspec import Struct

from gateway.domain.grant import Grant
from gateway.domain.repositories import ORAS
from swell.api.builds import (
    BuildPage,
    BuildRecord,
    BuildStatus,
    ChildBuild,
    ChildBuilds,
    ContainerStatus,
    seconds,
)
from swell.api.containers import ContainerRecord
from swell.errors import BadRequest, NotFound
from swell.oci.reference import parse_reference
from swell.store.builds import Builds
from swell.store.records import Build, Submission

DEFAULT_PAGE, LARGEST_PAGE = 20, 100
_CONTAINER_ID = re.compile("[0-9a-f]{16}")


class Resolved(Struct, frozen=True):
    """The digests of an image before and after what was asked for was added to it; None before the first pull."""

    source: str | None = None
    wave: str | None = None


class Requests(Protocol):
    async def get(self, token: str) -> Grant | None: ...

    async def record(self, token: str) -> ContainerRecord | None:
        """What is known of a request, also after its token has expired."""


class Images(Protocol):
    async def resolved(self, token: str) -> Resolved:
        """What the token's image was resolved to at its first pull."""


class Logs(Protocol):
    async def complete(self, build_id: str) -> AsyncIterator[bytes] | None:
        """The whole log of an ended build, in pieces; None when none is kept."""

    def so_far(self, build_id: str) -> AsyncIterator[bytes]:
        """The lines that a build has told until now."""

    async def lock(self, build_id: str) -> AsyncIterator[bytes] | None:
        """The lock file that a build of packages has made; None when there is none."""


class BuildQueries:
    def __init__(self, requests: Requests, images: Images, builds: Builds, logs: Logs, server_url: str) -> None:
        self._requests = requests
        self._images = images
        self._builds = builds
        self._logs = logs
        self._server_url = server_url

    async def request(self, request_id: str) -> ContainerStatus:
        grant = await self._requests.get(request_id)
        if grant is None:
            raise NotFound(f"no container request {request_id}, or its token has expired")
        if grant.build_id is None or grant.is_dry:
            return ContainerStatus(
                id=request_id, status="DONE", creation_time=grant.created, succeeded=True, duration=0.0
            )
        return await self._building(request_id, await self._known(grant.build_id))

    async def record(self, request_id: str) -> ContainerRecord:
        """What was asked under *request_id* and, once it was pulled, the digests that it came to."""
        record = await self._requests.record(request_id)
        if record is None:
            raise NotFound(f"no record for token {request_id}")
        resolved = await self._images.resolved(request_id)
        return msgspec.structs.replace(record, source_digest=resolved.source, wave_digest=resolved.wave)

    async def _building(self, request_id: str, build: Build) -> ContainerStatus:
        created, result = build.submission.created, build.result
        if result is None:
            position = await self._builds.position(build.id)
            return ContainerStatus(
                id=request_id, status="BUILDING", creation_time=created, build_id=build.id, queue_position=position
            )
        return ContainerStatus(
            id=request_id,
            status="DONE",
            creation_time=created,
            build_id=build.id,
            succeeded=result.succeeded,
            reason=None if result.succeeded else f"The container build did not succeed: {result.message}",
            details_uri=None if result.succeeded else f"{self._server_url}/v1alpha1/builds/{build.id}/logs",
            duration=seconds(result.duration),
        )

    async def build(self, build_id: str) -> BuildRecord:
        build = await self._known(build_id)
        return record(build, None if build.result else await self._builds.position(build_id))

    async def builds(self, image: str, cursor: str | None, limit: int | None) -> BuildPage:
        """The builds of *image*, a target image or a container id, newest first: at most *limit* behind *cursor*.

        A SIF file's name may be told with `oras://` before it or without.

        Raises:
            BadRequest: one of them cannot be read.
        """
        most = DEFAULT_PAGE if limit is None else limit
        if not 1 <= most <= LARGEST_PAGE:
            raise BadRequest(f"limit can be 1 to {LARGEST_PAGE}")
        container_id, target = image, None
        if not _CONTAINER_ID.fullmatch(image):
            name = str(parse_reference(image.removeprefix(ORAS)))
            if (latest := await self._builds.latest(name) or await self._builds.latest(f"{ORAS}{name}")) is None:
                return BuildPage(builds=())
            container_id, target = latest.submission.container_id, latest.submission.target_image
        found = await self._builds.page(container_id, before=_number(cursor), limit=most)
        following = _number_of(found[-1].id) if len(found) == most else 1
        return BuildPage(
            builds=tuple(record(build) for build in found if target in {None, build.submission.target_image}),
            next=str(following) if following > 1 else None,
        )

    async def build_status(self, build_id: str) -> BuildStatus:
        build = await self._known(build_id)
        return BuildStatus(
            id=build.id,
            status="COMPLETED" if build.result else "PENDING",
            start_time=build.submission.created,
            duration=seconds(build.result.duration) if build.result else None,
            succeeded=build.result.succeeded if build.result else None,
            queue_position=None if build.result else await self._builds.position(build_id),
            reason=build.result.reason if build.result else None,
        )

    async def log(self, build_id: str) -> AsyncIterator[bytes]:
        """The log of a build: the whole once it has ended, before that what it has told so far."""
        build = await self._known(build_id)
        if build.result and (whole := await self._logs.complete(build_id)):
            return whole
        return self._logs.so_far(build_id)

    async def lock(self, build_id: str) -> AsyncIterator[bytes]:
        await self._known(build_id)
        if (lock := await self._logs.lock(build_id)) is None:
            raise NotFound(f"the build {build_id} has made no lock file")
        return lock

    async def _known(self, build_id: str) -> Build:
        if (build := await self._builds.get(build_id)) is None:
            raise NotFound(f"no build {build_id}")
        return build


def record(build: Build, position: int | None = None) -> BuildRecord:
    """What everybody may know of *build*; never who asked for it, nor from where."""
    submission, result = build.submission, build.result
    return BuildRecord(
        build_id=build.id,
        docker_file=submission.containerfile,
        conda_file=submission.environment,
        target_image=submission.target_image,
        start_time=submission.created,
        platform=submission.platform,
        format="SINGULARITY" if submission.sif else "DOCKER",
        offset_id="Z",
        build_template=submission.template,
        compression=submission.compression,
        queue_position=position,
        duration=seconds(result.duration) if result else None,
        exit_status=result.exit_status if result else None,
        digest=result.digest if result else None,
        build_child_ids=_children(submission),
        reason=result.reason if result else None,
    )


def _number(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 16):
        raise BadRequest("cursor is not one that a page had as its next")
    return int(cursor)


def _number_of(build_id: str) -> int:
    return int(build_id.rpartition("_")[2])


def _children(submission: Submission) -> ChildBuilds | None:
    refs = tuple(ChildBuild(each.build_id, each.platform) for each in submission.children if each.build_id)
    return ChildBuilds(refs) if submission.children else None
