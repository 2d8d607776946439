"""Queries about requests and builds: status, records and logs."""

import re
from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from gateway.builds.first_status import FirstStatus
from gateway.domain.grant import Grant
from swell.api.builds import (
    BuildPage,
    BuildRecord,
    BuildStatus,
    ChildBuild,
    ChildBuilds,
    ContainerStatus,
    SbomStatus,
    SignatureStatus,
    seconds,
)
from swell.api.containers import ContainerRecord
from swell.errors import BadRequest, NotFound, Unavailable
from swell.log import parse_traceparent
from swell.naming.image_name import ORAS
from swell.oci.reference import parse_reference
from swell.store.attestations import Attestation
from swell.store.builds import Builds
from swell.store.records import Build, Listing, Signing, SigningState, Submission

DEFAULT_PAGE, MAX_PAGE = 20, 100  # builds
NOT_SIGNED = "a successful build gets it shortly after its end, if the operator has images signed"
_CONTAINER_ID = re.compile("[0-9a-f]{16}")


class Resolved(Struct, frozen=True):
    """The digests of an image before and after it was augmented; None before the first pull."""

    source: str | None = None
    wave: str | None = None


class Requests(Protocol):
    async def get(self, token: str) -> Grant | None: ...

    async def record(self, token: str) -> ContainerRecord | None:
        """The record of a request, which outlives its token."""


class Images(Protocol):
    async def resolved(self, token: str) -> Resolved:
        """The digests that the image of *token* was resolved to at its first pull."""


class Logs(Protocol):
    async def complete(self, build_id: str) -> AsyncIterator[bytes] | None:
        """The whole log of an ended build, in pieces; None when it is not stored."""

    def so_far(self, build_id: str) -> AsyncIterator[bytes]:
        """The log lines of a running build up to now."""

    async def lock(self, build_id: str) -> AsyncIterator[bytes] | None:
        """The lock file of a build of packages; None when it has none."""

    async def attestation(self, build_id: str, kind: Attestation) -> bytes | None:
        """The signed statement about a build, or its unsigned provenance; None when it is not stored."""


class ScanStatuses(Protocol):
    async def of_build(self, build_id: str) -> str | None:
        """The id of the scan of the image that a build makes; None without one."""

    async def add_to(self, status: ContainerStatus, grant: Grant) -> ContainerStatus:
        """Return *status* with the scan of *grant*, which may still run, or decide whether the request succeeded."""


class BuildQueries:
    def __init__(
        self,
        requests: Requests,
        images: Images,
        builds: Builds,
        logs: Logs,
        server_url: str,
        first_status: FirstStatus,
        scan_status: ScanStatuses,
    ) -> None:
        self._scan_status = scan_status
        self._first_status = first_status
        self._requests = requests
        self._images = images
        self._builds = builds
        self._logs = logs
        self._server_url = server_url

    async def container_status(self, request_id: str) -> ContainerStatus:
        """The status of a container request; the first one of a new request may take 5 s, until its build has ended.

        Raises:
            NotFound: the request is unknown, or its token or the record of its build has expired.
        """
        grant = await self._requests.get(request_id)
        if grant is None:
            raise NotFound(f"no container request {request_id}, or its token has expired")
        if grant.build_id is None or grant.is_dry:
            status = ContainerStatus(
                id=request_id, status="DONE", creation_time=grant.created, succeeded=True, duration=0.0
            )
            return await self._scan_status.add_to(status, grant)
        build = await self._any(grant.build_id)
        if build.is_active and await self._first_status.hold(grant):
            build = await self._any(build.id)
        return await self._scan_status.add_to(await self._build_progress(request_id, build), grant)

    async def container_record(self, request_id: str) -> ContainerRecord:
        """The content of a container request and, once it was pulled, the digests of its image.

        Raises:
            NotFound: the request is unknown.
        """
        record = await self._requests.record(request_id)
        if record is None:
            raise NotFound(f"no record for token {request_id}")
        resolved = await self._images.resolved(request_id)
        return msgspec.structs.replace(record, source_digest=resolved.source, wave_digest=resolved.wave)

    async def build_record(self, build_id: str) -> BuildRecord:
        """The record of a build; raises `NotFound`."""
        return (await self.build_and_record(build_id))[1]

    async def build_and_record(self, build_id: str) -> tuple[Build, BuildRecord]:
        """A build as it is stored, and its public record; raises `NotFound`."""
        build = await self._build(build_id)
        record = record_of(build, None if build.result else await self._builds.position(build_id))
        return build, msgspec.structs.replace(
            record,
            scan_id=await self._scan_status.of_build(build_id),
            signature=_signature(await self._builds.signing(build_id) if build.result else None),
            sbom=_sbom(await self._builds.listing(build_id) if build.result else None),
        )

    async def list_builds(self, image: str, cursor: str | None, limit: int | None) -> BuildPage:
        """The builds of *image*, newest first: at most *limit* (1 to 100, default 20), after *cursor*.

        *image* is a target image, with or without `oras://` for a SIF file, or a container id.

        Raises:
            BadRequest: a parameter is malformed.
        """
        size = DEFAULT_PAGE if limit is None else limit
        if not 1 <= size <= MAX_PAGE:
            raise BadRequest(f"limit can be 1 to {MAX_PAGE}")
        container_id, target = image, None
        if not _CONTAINER_ID.fullmatch(image):
            name = str(parse_reference(image.removeprefix(ORAS)))
            latest = await self._builds.latest(name) or await self._builds.latest(f"{ORAS}{name}")
            if latest is None or latest.submission.mirror:
                return BuildPage(builds=())
            container_id, target = latest.submission.container_id, latest.submission.target_image
        builds = await self._builds.page(container_id, before=parse_cursor(cursor), limit=size)
        next_cursor = _number_of(builds[-1].id) if len(builds) == size else 1
        return BuildPage(
            builds=tuple(record_of(build) for build in builds if target in {None, build.submission.target_image}),
            next=str(next_cursor) if next_cursor > 1 else None,
        )

    async def build_status(self, build_id: str) -> BuildStatus:
        """The status of a build; raises `NotFound`."""
        build = await self._build(build_id)
        return BuildStatus(
            id=build.id,
            status="COMPLETED" if build.result else "PENDING",
            start_time=build.submission.created,
            duration=seconds(build.result.duration) if build.result else None,
            succeeded=build.result.succeeded if build.result else None,
            queue_position=None if build.result else await self._builds.position(build_id),
            reason=build.result.reason if build.result else None,
        )

    async def build_log(self, build_id: str) -> AsyncIterator[bytes]:
        """The whole log of an ended build, or the lines of a running build up to now.

        While the store of ended builds' logs is unavailable, their lines are those of the stream, if it has some.

        Raises:
            NotFound: the build is unknown.
            Unavailable: the log cannot be read now.
        """
        return await self.log_of(await self._build(build_id))

    async def log_of(self, build: Build) -> AsyncIterator[bytes]:
        """As `build_log`, for a build or a mirror."""
        if not build.result:
            return self._logs.so_far(build.id)
        try:
            return await self._logs.complete(build.id) or self._logs.so_far(build.id)
        except Unavailable:
            lines = self._logs.so_far(build.id)
            if (first := await anext(lines, None)) is None:
                raise
            return _joined(first, lines)

    async def lock_file(self, build_id: str) -> AsyncIterator[bytes]:
        """The lock file of a build of packages; raises `NotFound`."""
        await self._build(build_id)
        if (pieces := await self._logs.lock(build_id)) is None:
            raise NotFound(f"the build {build_id} has made no lock file")
        return pieces

    async def attestation(self, build_id: str, kind: Attestation) -> dict[str, Any]:
        """A statement about the image of a build: a sigstore bundle, or the unsigned provenance; raises `NotFound`."""
        await self._build(build_id)
        if (content := await self._logs.attestation(build_id, kind)) is None:
            reason = missing_statement(await self._builds.signing(build_id)) or NOT_SIGNED
            raise NotFound(f"the build {build_id} has no {kind}: {reason}")
        return msgspec.json.decode(content, type=dict[str, Any])

    async def _build(self, build_id: str) -> Build:
        if (build := await self._builds.get(build_id)) is None or build.submission.mirror:
            raise NotFound(f"no build {build_id}")
        return build

    async def _any(self, build_id: str) -> Build:
        if (build := await self._builds.get(build_id)) is None:
            raise NotFound(f"the record of {build_id} has expired")
        return build

    async def _build_progress(self, request_id: str, build: Build) -> ContainerStatus:
        created, result = build.submission.created, build.result
        is_mirror = bool(build.submission.mirror)
        build_id, mirror_id = (None, build.id) if is_mirror else (build.id, None)
        what, path = ("mirror", "mirrors") if is_mirror else ("build", "builds")
        if result is None:
            position = await self._builds.position(build.id)
            return ContainerStatus(
                id=request_id,
                status="BUILDING",
                creation_time=created,
                build_id=build_id,
                mirror_id=mirror_id,
                queue_position=position,
            )
        return ContainerStatus(
            id=request_id,
            status="DONE",
            creation_time=created,
            build_id=build_id,
            mirror_id=mirror_id,
            succeeded=result.succeeded,
            reason=None if result.succeeded else f"The container {what} did not succeed: {result.message}",
            details_uri=None if result.succeeded else f"{self._server_url}/view/{path}/{build.id}",
            duration=seconds(result.duration),
        )


async def _joined(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in others:
        yield piece


def record_of(build: Build, position: int | None = None) -> BuildRecord:
    """The public record of *build*; it does not contain who requested the build, nor their address."""
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
        trace_id=trace.trace_id if (trace := parse_traceparent(submission.traceparent)) and trace.sampled else None,
    )


def _signature(signing: Signing | None) -> SignatureStatus | None:
    if signing is None:
        return None
    return SignatureStatus(
        status=signing.state,
        attempts=signing.attempts,
        time=signing.time,
        reason=signing.reason or None,
        key_id=signing.key_id or None,
        identity=signing.identity or None,
        issuer=signing.issuer or None,
    )


def _sbom(listing: Listing | None) -> SbomStatus | None:
    if listing is None:
        return None
    return SbomStatus(status=listing.state, attempts=listing.attempts, time=listing.time, reason=listing.reason)


def missing_statement(signing: Signing | None) -> str:
    """Why a statement about an image is missing, if signing it has failed; empty otherwise."""
    if signing and signing.state is SigningState.RETRYING:
        return f"attempt {signing.attempts} to sign its image failed, and another one follows: {signing.reason}"
    if signing and signing.state is SigningState.GIVEN_UP:
        return f"its image was not signed: {signing.reason}"
    return ""


def parse_cursor(cursor: str | None) -> int | None:
    """The number in the *cursor* of a list of builds; raises `BadRequest`."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 18):
        raise BadRequest("cursor is not one that a page had as its next")
    return int(cursor)


def _number_of(build_id: str) -> int:
    return int(build_id.rpartition("_")[2])


def _children(submission: Submission) -> ChildBuilds | None:
    children = tuple(ChildBuild(child.build_id, child.platform) for child in submission.children if child.build_id)
    return ChildBuilds(children) if submission.children else None
