"""An index is pushed when the builds of its platforms have ended well, and says why when it is not."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from builder.assemble import IndexAssembler
from builder.domain.failure import BuildFailure
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.media_types import DOCKER_MANIFEST, OCI_INDEX
from swell.oci.reference import Reference
from swell.registry.credentials.principal import Principal
from swell.store.records import BuildResult, Child, Reason, Submission

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
AMD64, ARM64 = (Document(DOCKER_MANIFEST, f'{{"for":"{name}"}}'.encode()) for name in ("amd64", "arm64"))


def ended(digest: Digest | None, message: str = "", reason: Reason | None = None) -> BuildResult:
    return BuildResult(
        succeeded=digest is not None,
        exit_status=0 if digest else 7,
        started=NOON,
        finished=NOON,
        digest=digest,
        message=message,
        reason=reason,
    )


class Ends:
    """Builds that have ended; others never end, and the records of those that are None have expired."""

    def __init__(self, **results: BuildResult | None) -> None:
        self._results = results

    async def result(self, build_id: str) -> BuildResult | None:
        if build_id not in self._results:
            await asyncio.Event().wait()
        return self._results[build_id]


class Registry:
    def __init__(self, **images: Document) -> None:
        self.images = dict(images)

    def acting_for(self, principal: Principal) -> "Registry":
        return self

    async def fetch(self, reference: Reference) -> Document | None:
        found = {document.digest: document for document in self.images.values()}
        return found.get(reference.digest) if reference.digest else self.images.get(reference.reference)

    async def document(self, reference: Reference, document: Document) -> Digest:
        self.images[reference.reference] = document
        return document.digest


class Log(list[str]):
    async def write_line(self, line: bytes) -> None:
        self.append(line.decode())


def wanted(amd64: str | None = "one", arm64: str | None = "two") -> Submission:
    children = (
        Child(platform="linux/amd64", target_image="r.io/x:a", build_id=amd64),
        Child(platform="linux/arm64", target_image="r.io/x:b", build_id=arm64),
    )
    return Submission(
        container_id="p",
        target_image="r.io/x:p",
        containerfile="FROM a\n",
        platform="linux/amd64,linux/arm64",
        created=NOON,
        children=children,
    )


def assembling(ends: Ends, registry: Registry, *, after: timedelta = timedelta(0)) -> IndexAssembler:
    return IndexAssembler(ends, registry, timedelta(hours=6), now=lambda: NOON + after)


async def test_the_index_names_each_platforms_manifest() -> None:
    """Amd64 first, with the types that the registry has; what was built is known by its digest, not by its name."""
    registry, log = Registry(a=AMD64, other=ARM64), Log()
    ends = Ends(one=ended(AMD64.digest), two=ended(ARM64.digest))

    digest = await assembling(ends, registry).make(wanted(), log)

    index = registry.images["p"]
    assert (index.digest, index.media_type) == (digest, OCI_INDEX)
    assert [(each.digest, each.size, each.media_type, each.platform) for each in index.manifests] == [
        (AMD64.digest, AMD64.size, DOCKER_MANIFEST, {"architecture": "amd64", "os": "linux"}),
        (ARM64.digest, ARM64.size, DOCKER_MANIFEST, {"architecture": "arm64", "os": "linux"}),
    ]
    assert [line for line in log if "done" in line] == ["linux/amd64: one done", "linux/arm64: two done"]


async def test_what_was_there_already_is_found_by_its_name() -> None:
    """A child that needed no build; and to assemble again changes nothing."""
    registry = Registry(a=AMD64, b=ARM64)
    work = assembling(Ends(two=ended(ARM64.digest)), registry)

    assert await work.make(wanted(amd64=None), Log()) == await work.make(wanted(amd64=None), Log())


async def test_every_platform_that_failed_is_named() -> None:
    """Both failures are reported at once; the reason is that of the first one."""
    ends = Ends(one=ended(None, "no gcc.", Reason.RECIPE), two=ended(None, "no disk.", Reason.DISK))

    with pytest.raises(BuildFailure) as failure:
        await assembling(ends, Registry()).make(wanted(), Log())

    assert str(failure.value) == (
        "The build for linux/amd64, one, failed: no gcc. The build for linux/arm64, two, failed: no disk."
    )
    assert (failure.value.reason, failure.value.exit_status) == (Reason.RECIPE, 7)


async def test_children_have_a_time_limit() -> None:
    """Neither for a build that does not end, nor anew after each restart: the submission counts."""
    ends = Ends(one=ended(AMD64.digest))

    with pytest.raises(BuildFailure, match=r"linux/arm64 was not done within the 6:00:00 h") as failure:
        await assembling(ends, Registry(a=AMD64), after=timedelta(hours=6)).make(wanted(), Log())

    assert failure.value.reason is Reason.TIMED_OUT


async def test_a_child_whose_record_has_expired_is_a_failure() -> None:
    """The index cannot wait for a build without a record."""
    with pytest.raises(BuildFailure, match="The record of two"):
        await assembling(Ends(one=ended(AMD64.digest), two=None), Registry()).make(wanted(), Log())


async def test_an_image_that_is_gone_is_a_failure() -> None:
    """It was deleted from the registry."""
    with pytest.raises(BuildFailure, match="linux/arm64 is not in the registry"):
        await assembling(Ends(), Registry(a=AMD64)).make(wanted(None, None), Log())
