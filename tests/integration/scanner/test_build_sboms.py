"""SBOMs of builds with the real syft, and with events over a real NATS server."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scanner.__main__ import list_packages_of_builds
from scanner.adapters.database import VulnerabilityDatabase
from scanner.adapters.programs import Programs
from scanner.build_sboms import BuildSboms
from scanner.catalogue import Catalogue, PlatformImage
from scanner.tools.anchore import Anchore, GrypeUnpacker
from scanner.tools.protocol import DatabaseState, Match, Sboms
from swell.jobs.messages import BuildDone, SbomStored
from swell.jobs.publish import publish
from swell.jobs.streams import Nats
from swell.oci.digest import Digest, digest_of
from swell.oci.reference import Reference
from swell.registry.credentials.principal import OPERATOR, Principal
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import BuildResult, Listing, ListingState, Submission
from swell.store.scans.memory import MemoryScans
from swell.testing.images import make_image
from tests.integration.scanner.examples import PACKAGES, make_settings, write_layout

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
FALSE = Path("/bin/false")
"""A program that fails in place of syft."""


class Repaired:
    """A tool that is *broken* for the first two images, and then *works*."""

    name, family = "repaired", "syft"

    def __init__(self, broken: Anchore, works: Anchore) -> None:
        self._tools = [broken, broken, works]
        self.count_packages = works.count_packages

    async def catalogue(self, layout: Path, name: str) -> Sboms:
        tool = self._tools.pop(0) if len(self._tools) > 1 else self._tools[0]
        return await tool.catalogue(layout, name)

    async def match(self, sbom: bytes) -> Match:
        raise NotImplementedError

    async def database(self) -> DatabaseState:
        raise NotImplementedError


class Site:
    """An image in a folder, and what is stored and published about it; `records` are its states, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = write_layout(folder / "image", PACKAGES)
        self.stored: dict[tuple[str, Digest], Sboms] = {}
        self.events: asyncio.Queue[SbomStored] = asyncio.Queue()

    async def images(self, image: Reference, platforms: Sequence[str], principal: Principal) -> list[PlatformImage]:
        return [PlatformImage("linux/amd64", image, make_image("a").manifest)]

    @asynccontextmanager
    async def layout(self, image: PlatformImage, principal: Principal) -> AsyncIterator[Path]:
        yield self.folder

    async def sbom(self, repository: str, manifest: Digest) -> bytes | None:
        stored = self.stored.get((repository, manifest))
        return stored.native if stored else None

    async def put_sboms(self, repository: str, manifest: Digest, sboms: Sboms) -> None:
        self.stored[repository, manifest] = sboms

    async def lists_packages(self, build_id: str) -> bool:
        return False

    async def sbom_stored(self, event: SbomStored) -> None:
        await self.events.put(event)


class RecordedBuilds(MemoryBuilds):
    """Notes what was recorded about the lists of packages."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded: list[Listing | None] = []

    async def put_listing(self, build_id: str, listing: Listing | None) -> None:
        self.recorded.append(listing)
        await super().put_listing(build_id, listing)


async def test_a_program_that_fails_twice_leaves_no_build_without_sbom(
    nats: Nats, programs: Programs, paths: tuple[Path, Path], tmp_path: Path
) -> None:
    """The event is delivered again. The record says why there is no SBOM yet, until there is one."""
    syft, grype = paths
    unused = VulnerabilityDatabase(tmp_path, programs, GrypeUnpacker(grype), timedelta(days=5), 1 << 30)
    broken = Anchore(programs, FALSE, grype, unused, "broken")
    tool = Repaired(broken, Anchore(programs, syft, grype, unused, "syft"))
    site, builds = Site(tmp_path), RecordedBuilds()
    sboms = BuildSboms(Catalogue(tool, site, site), builds, MemoryScans(), site, site, timedelta(minutes=2))
    submission = Submission(
        container_id="c44968632f89dd6c",
        target_image="quay.io/acme/tool:1",
        containerfile="FROM a\n",
        platform="linux/amd64",
        created=NOON,
        push_principal=OPERATOR,
    )
    build_id, _ = await builds.submit(submission)
    result = BuildResult(succeeded=True, exit_status=0, started=NOON, finished=NOON, digest=digest_of(b"a"))
    await builds.finish(build_id, result)
    await publish(nats.stream, BuildDone.of(build_id, submission, result))

    task = asyncio.create_task(list_packages_of_builds(make_settings(tmp_path / "unused"), nats, sboms))
    try:
        async with asyncio.timeout(120):
            event = await site.events.get()
            while await builds.listing(build_id):  # noqa: ASYNC110  (removed after the event)
                await asyncio.sleep(0.05)
    finally:
        task.cancel()
        await asyncio.wait([task])

    assert event.id == build_id
    assert [each.packages for each in site.stored.values()] == [6]
    first, second, last = builds.recorded
    assert first is not None and second is not None and last is None
    assert (first.state, first.attempts, second.attempts) == (ListingState.RETRYING, 1, 2)
    assert first.reason == second.reason == "syft ended with status 1: no output"
