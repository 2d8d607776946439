"""Assemble an index: wait for the builds of its platforms, and push it when all of them have an image."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

from builder.domain.failure import BuildFailure
from builder.domain.index import index_of
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.reference import Reference, parse_reference
from swell.registry.principal import Principal
from swell.store.records import BuildResult, Child, Reason, Submission


class Ends(Protocol):
    async def result(self, build_id: str) -> BuildResult | None:
        """Wait until *build_id* has ended, be it for ever; None when nothing is known of it any more."""


class Registry(Protocol):
    def acting_for(self, principal: Principal) -> "Registry": ...

    async def fetch(self, reference: Reference) -> Document | None: ...

    async def document(self, reference: Reference, document: Document) -> Digest: ...


class Log(Protocol):
    async def tell(self, line: bytes) -> None: ...


class Assembling:
    """Waiting costs a builder nothing but a task: the builds of the platforms are jobs like any others."""

    def __init__(
        self,
        ends: Ends,
        registry: Registry,
        patience: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ends = ends
        self._registry = registry
        self._patience = patience
        self._now = now

    async def make(self, wanted: Submission, told: Log) -> Digest:
        """Push the index of *wanted*'s children; answers its digest. However often, it is the same index.

        Raises:
            BuildFailure: a child has failed or is not done in time, its image is gone, or the index is not taken.
        """
        results = await self._results(wanted, told)
        registry = self._registry.acting_for(wanted.push_principal)
        images = [
            (child.platform, await _image(registry, child, results.get(child.platform))) for child in wanted.children
        ]
        digest = await registry.document(parse_reference(wanted.target_image), index_of(images))
        await told.tell(f"Pushed {wanted.target_image}, an index of {len(images)} platforms".encode())
        return digest

    async def _results(self, wanted: Submission, told: Log) -> Mapping[str, BuildResult]:
        """How the builds of *wanted*'s children have ended, by platform: all well."""
        results: dict[str, BuildResult] = {}
        left = wanted.created + self._patience - self._now()
        try:
            async with asyncio.timeout(left.total_seconds()):
                for child in wanted.children:
                    await told.tell(f"{child.platform}: {child.build_id or 'is there already'}".encode())
                    if child.build_id:
                        results[child.platform] = await self._result(child, child.build_id, told)
        except TimeoutError as error:
            waited_for = next(
                each.platform for each in wanted.children if each.build_id and each.platform not in results
            )
            message = f"The build for {waited_for} was not done within the {self._patience} h that this server waits."
            raise BuildFailure(Reason.TIMED_OUT, message) from error
        _see_that_all_succeeded(wanted, results)
        return results

    async def _result(self, child: Child, build_id: str, told: Log) -> BuildResult:
        result = await self._ends.result(build_id)
        if result is None:
            raise BuildFailure(
                Reason.ENGINE, f"Nothing is known any more of {build_id}, the build for {child.platform}."
            )
        said = "done" if result.succeeded else f"failed: {result.message}"
        await told.tell(f"{child.platform}: {build_id} {said}".encode())
        return result


async def _image(registry: Registry, child: Child, result: BuildResult | None) -> Document:
    reference = parse_reference(child.target_image)
    if result and result.digest:
        reference = reference.at(result.digest)
    if (manifest := await registry.fetch(reference)) is None:
        raise BuildFailure(Reason.PUSH, f"The image for {child.platform} is not in the registry: {reference}.")
    return manifest


def _see_that_all_succeeded(wanted: Submission, results: Mapping[str, BuildResult]) -> None:
    builds = {child.platform: child.build_id for child in wanted.children}
    failed = {platform: result for platform, result in results.items() if not result.succeeded}
    if failed:
        first = next(iter(failed.values()))
        told = [
            f"The build for {platform}, {builds[platform]}, failed: {each.message}" for platform, each in failed.items()
        ]
        raise BuildFailure(first.reason or Reason.ENGINE, " ".join(told), first.exit_status)
