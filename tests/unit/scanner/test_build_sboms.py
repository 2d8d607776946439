"""Each built image gets an SBOM, also if no client has asked for a scan."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from scanner.build_sboms import BuildSboms
from scanner.catalogue import Catalogue
from scanner.domain.failure import ScanFailure
from swell.errors import Unavailable
from swell.jobs.messages import BuildDone, SbomStored, ScanDone
from swell.oci.digest import digest_of
from swell.registry.credentials.principal import limited_to
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import BuildResult, Child, ListingState, MirrorImage, Submission
from swell.store.scans import ScanProblem, ScanSubmission
from swell.store.scans.memory import MemoryScans
from swell.store.scans.records import build_key
from swell.testing.images import make_image

from .doubles import BUILT, FakeImages, FakeTool, MemoryReports

REPOSITORY = "quay.io/acme/tool"
TEAM = limited_to(["quay.io/acme"])
MANIFEST = make_image("linux/amd64", platform="linux/amd64").manifest


class Site:
    """A scanner with stand-ins around it; `events` are published, `locked` are builds with a lock file."""

    def __init__(self, packages: int = 3) -> None:
        self.tool, self.images, self.reports = FakeTool(packages=packages), FakeImages(), MemoryReports()
        self.builds, self.scans = MemoryBuilds(), MemoryScans()
        self.events: list[SbomStored] = []
        self.locked = set[str]()
        catalogue = Catalogue(self.tool, self.images, self.reports)
        self.sboms = BuildSboms(catalogue, self.builds, self.scans, self, self, timedelta(minutes=1))

    async def lists_packages(self, build_id: str) -> bool:
        return build_id in self.locked

    async def sbom_stored(self, event: SbomStored) -> None:
        self.events.append(event)

    async def listing(self, build_id: str) -> tuple[ListingState, int, str] | None:
        known = await self.builds.listing(build_id)
        return (known.state, known.attempts, known.reason) if known else None

    async def built(self, *, succeeded: bool = True, **fields: object) -> BuildDone:
        values = {
            "container_id": "c44968632f89dd6c",
            "target_image": f"{REPOSITORY}:1",
            "containerfile": "FROM a\n",
            "platform": "linux/amd64",
            "created": BUILT,
            "push_principal": TEAM,
        }
        submission = Submission(**values | fields)  # type: ignore[arg-type]
        build_id, _ = await self.builds.submit(submission)
        result = BuildResult(
            succeeded=succeeded, exit_status=0, started=BUILT, finished=BUILT, digest=digest_of(b"image")
        )
        await self.builds.finish(build_id, result)
        return BuildDone.of(build_id, submission, result)


async def test_the_packages_of_a_build_are_listed(site: Site) -> None:
    """With the credentials of its push, by its digest; a repeated event lists nothing again."""
    event = await site.built(target_image=f"oras://{REPOSITORY}:1")

    await site.sboms.on_build_done(event, 1)
    await site.sboms.on_build_done(event, 2)

    assert site.images.read[0].endswith(digest_of(b"image")) and site.images.read[0].startswith(REPOSITORY)
    assert set(site.images.principals) == {TEAM} and len(site.tool.catalogued) == 1
    assert (REPOSITORY, MANIFEST.digest) in site.reports.sboms
    assert site.events == [SbomStored(id=event.id, manifests=(MANIFEST.digest,))] * 2


async def test_builds_with_another_source_of_their_sbom_are_left_out(site: Site) -> None:
    """A lock file is exact, a scan makes the SBOM itself, an index has children, and a mirror is not ours."""
    locked, waiting = await site.built(), await site.built(container_id="1111111111111111")
    site.locked.add(locked.id)
    submission = ScanSubmission(key=build_key(waiting.id), image=REPOSITORY, created=BUILT, build_id=waiting.id)
    await site.scans.request("d700b75853d8096c", submission, "client")
    child = Child(platform="linux/amd64", target_image=f"{REPOSITORY}:2")
    mirrored = MirrorImage(source=f"{REPOSITORY}:3", target=f"{REPOSITORY}:4", digest=digest_of(b"3"))
    others = [
        await site.built(container_id="2222222222222222", children=(child,)),
        await site.built(container_id="3333333333333333", mirror=(mirrored,)),
        await site.built(container_id="4444444444444444", succeeded=False),
    ]

    for event in (locked, waiting, *others):
        await site.sboms.on_build_done(event, 1)

    assert site.tool.catalogued == [] and site.events == []


async def test_an_image_that_cannot_be_listed_is_left_and_an_unavailable_registry_is_not(site: Site) -> None:
    """The first would fail again; after the second, the event is delivered again. The record says both."""
    event = await site.built()
    site.images.failures = [ScanFailure(ScanProblem.IMAGE, "too large"), Unavailable("no answer")]

    await site.sboms.on_build_done(event, 1)
    assert await site.listing(event.id) == (ListingState.GIVEN_UP, 1, "too large")
    with pytest.raises(Unavailable):
        await site.sboms.on_build_done(event, 2)

    assert site.events == []
    assert await site.listing(event.id) == (ListingState.RETRYING, 2, "no answer")


async def test_a_failing_program_is_tried_again_a_few_times(site: Site) -> None:
    """It may have been killed. Outages of the registry do not count; after a success nothing is recorded."""
    event = await site.built()
    killed = ScanFailure(ScanProblem.TOOL, "syft was killed")
    site.images.failures = [killed, *[Unavailable("no answer")] * 9, killed]

    for attempt in range(1, 12):
        with pytest.raises(Unavailable):
            await site.sboms.on_build_done(event, attempt)
    assert await site.listing(event.id) == (ListingState.RETRYING, 11, "syft was killed")
    await site.sboms.on_build_done(event, 12)

    assert await site.listing(event.id) is None and len(site.events) == 1


async def test_a_program_that_always_fails_is_given_up(site: Site) -> None:
    """After five failures; the record has the last reason, and so has a dead letter."""
    event = await site.built()
    site.images.failures = [ScanFailure(ScanProblem.MEMORY, "out of memory")] * 5

    for attempt in range(1, 5):
        with pytest.raises(Unavailable):
            await site.sboms.on_build_done(event, attempt)
    await site.sboms.on_build_done(event, 5)
    assert await site.listing(event.id) == (ListingState.GIVEN_UP, 5, "out of memory")

    await site.sboms.give_up(event.id, "was delivered 20 times")
    state, _, reason = await site.listing(event.id) or ("", 0, "")
    assert state is ListingState.GIVEN_UP
    assert reason == "its job was delivered 20 times; at last: out of memory"


async def test_a_scan_that_fails_before_it_lists_packages_leaves_no_gap(site: Site) -> None:
    """Its build gets the SBOM afterwards. A scan that has failed later, or has not failed, has stored one."""
    event = await site.built()
    submission = ScanSubmission(key=build_key(event.id), image=REPOSITORY, created=BUILT, build_id=event.id)
    scan_id, _ = await site.scans.request("d700b75853d8096c", submission, "client")
    await site.sboms.on_build_done(event, 1)
    assert site.tool.catalogued == []

    done = ScanDone(
        id=scan_id, image=REPOSITORY, platform="linux/amd64", succeeded=False, finished=BUILT, build_id=event.id
    )
    site.images.failures = [ScanFailure(ScanProblem.TOOL, "syft was killed")]
    with pytest.raises(Unavailable):
        await site.sboms.on_scan_done(done, 1)
    await site.sboms.on_scan_done(done, 2)

    assert len(site.tool.catalogued) == 1 and len(site.events) == 1
    await site.sboms.on_scan_done(replace(done, succeeded=True), 1)
    await site.sboms.on_scan_done(replace(done, build_id=""), 1)
    assert len(site.events) == 1
    await site.sboms.give_up_scan(scan_id, "was delivered 20 times")
    await site.sboms.on_scan_done(done, 1)
    assert len(site.events) == 1


async def test_a_later_scan_makes_the_sbom_of_a_build_that_was_given_up(site: Site) -> None:
    """The record of the build no longer says why it has none."""
    event = await site.built()
    site.images.failures = [ScanFailure(ScanProblem.IMAGE, "too large")]
    await site.sboms.on_build_done(event, 1)
    done = ScanDone(
        id="s", image=REPOSITORY, platform="linux/amd64", succeeded=False, finished=BUILT, build_id=event.id
    )

    await site.sboms.on_scan_done(done, 1)
    assert await site.listing(event.id) == (ListingState.GIVEN_UP, 1, "too large")
    await site.sboms.on_scan_done(replace(done, succeeded=True), 1)

    assert await site.listing(event.id) is None


async def test_an_image_without_packages_has_nothing_to_attach() -> None:
    """Its SBOM is stored, and says that no package was found."""
    site = Site(packages=0)

    await site.sboms.on_build_done(await site.built(), 1)

    assert site.reports.sboms and site.events == []


@pytest.fixture
def site() -> Site:
    return Site()
