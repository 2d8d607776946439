"""Mirror images: copy them unchanged, with all platforms and referrers, into another registry."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol

from builder.domain.failure import BuildFailure
from swell.api.mirrors import MirrorPlan, PlannedImage
from swell.errors import Denied, SwellError, TooManyRequests, Unavailable, UpstreamFailed
from swell.oci.digest import Digest
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.principal import Principal
from swell.store.records import MirrorImage, Reason, Submission

PAUSES = (2.0, 10.0, 30.0)  # seconds before each retry of a copy whose registry fails
LONGEST_WAIT = 120  # seconds of a `Retry-After` that is waited for
MOVES = 3  # how often a tag of the source may move while it is copied

Report = Callable[[str], Awaitable[None]]


class Copies(Protocol):
    """Copies images between two registries; a repeated copy sends only what is missing.

    Raises:
        SwellError: every method, when an image cannot be copied; the message names the registry.
    """

    async def digest_of_source(self, source: Reference) -> Digest:
        """Return the digest that *source* has now."""

    async def copy(
        self, source: Reference, target: Reference, report: Report, may_tag: Callable[[], Awaitable[bool]]
    ) -> Digest:
        """Copy *source* to *target*; without *may_tag*, the copy is stored by its digest only."""

    async def plan(self, source: Reference, target: Reference) -> PlannedImage:
        """Return what `copy` would send."""


class OpenCopies(Protocol):
    def __call__(self, principal: Principal, push_principal: Principal) -> Copies:
        """Return copies that read sources with *principal* and push with *push_principal*."""


class Log(Protocol):
    async def write_line(self, line: bytes) -> None: ...


class Mirroring:
    """Copies the images of mirrors, one after the other, within *timeout* for all images of one mirror."""

    def __init__(self, open_copies: OpenCopies, timeout: timedelta) -> None:
        self._open_copies = open_copies
        self._timeout = timeout

    async def make(self, submission: Submission, build_log: Log) -> Digest:
        """Copy the images of *submission*; return the digest of the first one.

        Raises:
            BuildFailure: an image cannot be copied; those before it are complete.
        """
        copies = self._open_copies(submission.principal, submission.push_principal)

        async def report(line: str) -> None:
            await build_log.write_line(line.encode())

        digests = list[Digest]()
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                for number, image in enumerate(submission.mirror, 1):
                    await report(f"[{number}/{len(submission.mirror)}] {image.source} to {image.target}")
                    digests.append(await self._copy_with_retries(copies, image, report))
        except TimeoutError as error:
            copied = f"{len(digests)} of {len(submission.mirror)} images are copied"
            message = f"The mirror was not complete within {self._timeout}: {copied}. Request it again to continue."
            raise BuildFailure(Reason.TIMED_OUT, message) from error
        return digests[0]

    async def plan(self, images: Sequence[MirrorImage], principal: Principal, push_principal: Principal) -> MirrorPlan:
        """Return what the copies of *images* would send; raises as `Copies`."""
        copies = self._open_copies(principal, push_principal)
        plans = [await copies.plan(_source(image), parse_reference(image.target)) for image in images]
        return MirrorPlan(images=tuple(plans))

    async def _copy_with_retries(self, copies: Copies, image: MirrorImage, report: Report) -> Digest:
        for pause in PAUSES:
            try:
                return await self._copy(copies, image, report)
            except (UpstreamFailed, TooManyRequests, Unavailable) as error:
                wait = max(pause, error.retry_after or 0)
                if wait > LONGEST_WAIT:
                    raise _failure(image, error) from error
                await report(f"{error}; trying again in {wait:.0f} s")
                await asyncio.sleep(wait)
            except SwellError as error:
                raise _failure(image, error) from error
        try:
            return await self._copy(copies, image, report)
        except SwellError as error:
            raise _failure(image, error) from error

    async def _copy(self, copies: Copies, image: MirrorImage, report: Report) -> Digest:
        """Copy *image*. If its tag moves meanwhile, copy the new image too: the last mirror sets the newest one."""
        source, target, digest = parse_reference(image.source), parse_reference(image.target), image.digest
        for _ in range(MOVES):
            current = await _copy_once(copies, source, target, digest, report)
            if current == digest:
                return digest
            await report(f"{source} moved from {digest} to {current} meanwhile")
            digest = current
        raise UpstreamFailed(f"{source} moved {MOVES} times while it was copied")


async def _copy_once(copies: Copies, source: Reference, target: Reference, digest: Digest, report: Report) -> Digest:
    """Copy *digest* of *source*; set the tag of *target* if *source* still has that digest. Return its digest then."""
    current = digest

    async def is_current() -> bool:
        nonlocal current
        if source.digest is None:
            current = await copies.digest_of_source(source)
        return current == digest

    await copies.copy(source.at(digest), target, report, is_current)
    return current


def _source(image: MirrorImage) -> Reference:
    return parse_reference(image.source).at(image.digest)


def _failure(image: MirrorImage, error: SwellError) -> BuildFailure:
    """Return the failure: of the push if *error* names the target's registry, else of the source."""
    target = parse_reference(image.target)
    reason = Reason.PUSH if target.registry in str(error) else Reason.BASE_IMAGE
    hint = " This server reads the source with your credentials only." if isinstance(error, Denied) else ""
    return BuildFailure(reason, f"{image.source} was not copied to {image.target}: {error}.{hint}")
