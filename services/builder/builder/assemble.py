"""Assemble an index: wait for the builds of its platforms, and push it when all of them have an image."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

from builder.domain.failure import BuildFailure
from builder.domain.index import index_of
from builder.domain.time_limit import time_limit
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.principal import Principal
from swell.store.records import BuildResult, Child, Reason, Submission


class Waiter(Protocol):
    async def result(self, build_id: str) -> BuildResult | None:
        """Wait for the result of *build_id*, without a time limit; None if the record has expired."""


class Registry(Protocol):
    def acting_for(self, principal: Principal) -> "Registry": ...

    async def fetch(self, reference: Reference) -> Document | None: ...

    async def document(self, reference: Reference, document: Document) -> Digest: ...


class Log(Protocol):
    async def write_line(self, line: bytes) -> None: ...


class IndexAssembler:
    """Assembles indexes. The builds of the platforms are ordinary jobs, so that waiting for them occupies no slot.

    An index is pushed again for *push_time* while its registry fails.
    """

    def __init__(
        self,
        waiter: Waiter,
        registry: Registry,
        timeout: timedelta,
        push_time: timedelta = timedelta(minutes=15),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._waiter = waiter
        self._registry = registry
        self._timeout = timeout
        self._push_time = push_time
        self._now = now

    async def make(self, submission: Submission, build_log: Log) -> Digest:
        """Push the index of the children of *submission* and return its digest, which depends on their images only.

        Raises:
            BuildFailure: a child failed or timed out, its image is missing, or the registry refuses the index.
        """
        results = await self._results(submission, build_log)
        registry = self._registry.acting_for(submission.push_principal)
        async with time_limit(self._push_time, build_log.write_line):
            images = [
                (child.platform, await _image(registry, child, results.get(child.platform)))
                for child in submission.children
            ]
            digest = await registry.document(parse_reference(submission.target_image), index_of(images))
        await build_log.write_line(f"Pushed {submission.target_image}, an index of {len(images)} platforms".encode())
        return digest

    async def _results(self, submission: Submission, build_log: Log) -> Mapping[str, BuildResult]:
        """Wait for the builds of the children; return their results by platform. All have succeeded."""
        results: dict[str, BuildResult] = {}
        left = submission.created + self._timeout - self._now()
        try:
            async with asyncio.timeout(left.total_seconds()):
                for child in submission.children:
                    await build_log.write_line(f"{child.platform}: {child.build_id or 'is already built'}".encode())
                    if child.build_id:
                        results[child.platform] = await self._result(child, child.build_id, build_log)
        except TimeoutError as error:
            unfinished = next(
                each.platform for each in submission.children if each.build_id and each.platform not in results
            )
            message = f"The build for {unfinished} was not done within the {self._timeout} h that this server waits."
            raise BuildFailure(Reason.TIMED_OUT, message) from error
        _check_all_succeeded(submission, results)
        return results

    async def _result(self, child: Child, build_id: str, build_log: Log) -> BuildResult:
        result = await self._waiter.result(build_id)
        if result is None:
            raise BuildFailure(Reason.ENGINE, f"The record of {build_id}, the build for {child.platform}, has expired.")
        state = "done" if result.succeeded else f"failed: {result.message}"
        await build_log.write_line(f"{child.platform}: {build_id} {state}".encode())
        return result


async def _image(registry: Registry, child: Child, result: BuildResult | None) -> Document:
    reference = parse_reference(child.target_image)
    if result and result.digest:
        reference = reference.at(result.digest)
    if (manifest := await registry.fetch(reference)) is None:
        raise BuildFailure(Reason.PUSH, f"The image for {child.platform} is not in the registry: {reference}.")
    return manifest


def _check_all_succeeded(submission: Submission, results: Mapping[str, BuildResult]) -> None:
    builds = {child.platform: child.build_id for child in submission.children}
    failed = {platform: result for platform, result in results.items() if not result.succeeded}
    if failed:
        first = next(iter(failed.values()))
        messages = [
            f"The build for {platform}, {builds[platform]}, failed: {each.message}" for platform, each in failed.items()
        ]
        raise BuildFailure(first.reason or Reason.ENGINE, " ".join(messages), first.exit_status)
