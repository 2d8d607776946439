"""Each built image gets an SBOM, also if no client has asked for a scan."""

from datetime import timedelta

import pytest

from scanner.build_sboms import BuildSboms
from scanner.catalogue import Catalogue
from scanner.domain.failure import ScanFailure
from swell.errors import Unavailable
from swell.jobs.messages import BuildDone, SbomStored
from swell.oci.digest import digest_of
from swell.registry.credentials.principal import limited_to
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import BuildResult, Child, MirrorImage, Submission
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
    """The first would fail again; after the second, the event is delivered again."""
    event = await site.built()
    site.images.failures = [ScanFailure(ScanProblem.IMAGE, "too large"), Unavailable("no answer")]

    await site.sboms.on_build_done(event, 1)
    with pytest.raises(Unavailable):
        await site.sboms.on_build_done(event, 2)

    assert site.events == []


async def test_an_image_without_packages_has_nothing_to_attach() -> None:
    """Its SBOM is stored, and says that no package was found."""
    site = Site(packages=0)

    await site.sboms.on_build_done(await site.built(), 1)

    assert site.reports.sboms and site.events == []


@pytest.fixture
def site() -> Site:
    return Site()
