"""Scans are requested with an image, and shared by digest."""

import pytest
from msgspec.structs import replace

from gateway.scans.queries import record_of
from gateway.scans.request import ScanRequest, ScanRequests, fingerprint
from gateway.submit.submit import ContainerRequests
from swell.errors import NotSupported, TooManyRequests
from swell.oci.digest import Digest, digest_of
from swell.oci.reference import parse_reference
from swell.registry.credentials.principal import PUBLIC, limited_to
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import BuildResult
from swell.store.scans.memory import MemoryScans
from tests.unit.gateway.doubles import (
    CALLER,
    NOON,
    CountedScans,
    MemoryGrants,
    MemoryRegistry,
    RunningScanners,
    ScanQueue,
)
from tests.unit.gateway.scans.examples import BUILDS, IMAGE, RECIPE, asking


@pytest.fixture
def image(registry: MemoryRegistry) -> Digest:
    """The digest of `IMAGE`."""
    registry.push(IMAGE)
    return registry.images[IMAGE]


@pytest.mark.usefixtures("image")
async def test_three_spellings_of_an_image_are_one_scan(
    container_requests: ContainerRequests, scan_queue: ScanQueue
) -> None:
    """Wave has three; the job of the one is published once."""
    spellings = "ubuntu", "ubuntu:latest", IMAGE
    answers = [await container_requests.submit(asking("async", container_image=each), CALLER) for each in spellings]

    assert len({answer.scan_id for answer in answers}) == 1
    assert scan_queue.jobs == [answers[0].scan_id]
    assert all(answer.succeeded is None and answer.warnings == () for answer in answers)


async def test_a_tag_that_moves_is_a_new_scan(
    container_requests: ContainerRequests, registry: MemoryRegistry, image: Digest, scans: MemoryScans
) -> None:
    """Wave returns the old result for a week."""
    first = await container_requests.submit(asking("async"), CALLER)
    moved = registry.images[IMAGE] = digest_of(b"another")
    second = await container_requests.submit(asking("async"), CALLER)

    assert first.scan_id != second.scan_id
    stored = [await scans.get(str(answer.scan_id)) for answer in (first, second)]
    assert [scan.submission.digest for scan in stored if scan] == [image, moved]


@pytest.mark.usefixtures("image")
async def test_another_platform_is_another_scan(container_requests: ContainerRequests) -> None:
    """An index has an image for each."""
    answers = [
        await container_requests.submit(asking("async", container_image="ubuntu", container_platform=each), CALLER)
        for each in ("linux/amd64", "linux/arm64")
    ]

    assert answers[0].scan_id != answers[1].scan_id


@pytest.mark.usefixtures("image")
async def test_organisations_have_scans_of_their_own(container_requests: ContainerRequests, scans: MemoryScans) -> None:
    """Each may have another policy: a waiver of one must not let an image pass for another one."""
    identity = replace(CALLER.identity, organisation="lab.example")
    callers = CALLER, replace(CALLER, identity=identity)
    answers = [await container_requests.submit(asking("async"), caller) for caller in callers]

    stored = [await scans.get(str(answer.scan_id)) for answer in answers]
    assert answers[0].scan_id != answers[1].scan_id
    assert [scan.submission.organisation for scan in stored if scan] == [CALLER.identity.organisation, "lab.example"]


def test_scan_ids_are_waves() -> None:
    """The vectors of the specification."""
    build, tool = parse_reference(f"{BUILDS}:c44968632f89dd6c"), parse_reference("quay.io/acme/tool:2.1")

    assert fingerprint(build, None, ("linux/arm64",)) == "80b9e02a956aa954"
    assert fingerprint(tool, Digest(f"sha256:{'ab' * 32}"), ("linux/amd64",)) == "d700b75853d8096c"


@pytest.mark.usefixtures("image")
async def test_a_scan_runs_as_the_caller_who_requests_it(
    container_requests: ContainerRequests, scans: MemoryScans
) -> None:
    """It reads no image with more rights, and names neither the caller nor the token."""
    answer = await container_requests.submit(asking("async"), CALLER)
    scan = await scans.get(str(answer.scan_id))

    assert scan and scan.submission.principal == CALLER.principal
    assert str(answer.container_token) not in repr(record_of(scan))


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("mode", [None, "none"])
async def test_an_image_is_scanned_on_request_only(
    container_requests: ContainerRequests, mode: str | None, scan_queue: ScanQueue
) -> None:
    """B21, R2: `scanLevels` alone scan nothing."""
    answer = await container_requests.submit(asking(mode, container_image="ubuntu", levels=["LOW"]), CALLER)

    assert (answer.scan_id, answer.succeeded, scan_queue.jobs) == (None, True, [])


@pytest.mark.usefixtures("image")
async def test_without_a_scanner_async_is_a_warning(
    container_requests: ContainerRequests, scanners: RunningScanners
) -> None:
    """A pipeline of many images does not stop."""
    scanners.running = False

    answer = await container_requests.submit(asking("async"), CALLER)

    assert (answer.scan_id, answer.succeeded) == (None, True)
    assert len(answer.warnings) == 1 and "`make scanners`" in answer.warnings[0]


async def test_without_a_scanner_required_is_refused(
    container_requests: ContainerRequests, scanners: RunningScanners, builds: MemoryBuilds
) -> None:
    """The message has the command that installs one; no build was started."""
    scanners.running = False

    with pytest.raises(NotSupported, match="`make scanners`"):
        await container_requests.submit(asking("required", container_file=RECIPE), CALLER)

    assert await builds.latest(f"{BUILDS}:c44968632f89dd6c") is None


@pytest.mark.usefixtures("image")
async def test_few_scans_of_a_client_wait(
    container_requests: ContainerRequests, registry: MemoryRegistry, scans: MemoryScans, scan_limits: CountedScans
) -> None:
    """One client cannot fill the queue of all; a scan that is left out counts for no other limit."""
    registry.push("docker.io/library/ubuntu:other")
    scans._waiting_limit, scan_limits.left = 1, 5
    await container_requests.submit(asking("async"), CALLER)

    left_out = await container_requests.submit(asking("async", container_image="ubuntu:other"), CALLER)
    with pytest.raises(TooManyRequests, match="have not ended"):
        await container_requests.submit(asking("required", container_image="ubuntu:other"), CALLER)

    assert left_out.scan_id is None and "have not ended" in left_out.warnings[0]
    assert scan_limits.left == 4


@pytest.mark.usefixtures("image")
async def test_scans_are_limited(container_requests: ContainerRequests, scan_limits: CountedScans) -> None:
    """A required scan beyond the limit is refused, another one is left out with a warning; a shared one is free."""
    scan_limits.left = 1
    first = await container_requests.submit(asking("async"), CALLER)
    scan_limits.left = 1
    again = await container_requests.submit(asking("async"), CALLER)
    assert again.scan_id == first.scan_id and scan_limits.left == 1

    scan_limits.left = 0
    assert "scan limit" in (await container_requests.submit(asking("async"), CALLER)).warnings[0]
    with pytest.raises(TooManyRequests, match="scan limit"):
        await container_requests.submit(asking("required"), CALLER)


async def test_a_sif_file_is_scanned_after_its_build(
    container_requests: ContainerRequests, scans: MemoryScans, scan_queue: ScanQueue
) -> None:
    """Like an image; the record names it without the scheme of ORAS."""
    sif = {"container_file": RECIPE, "format": "sif", "freeze": True, "build_repository": "quay.io/me/sif"}
    answer = await container_requests.submit(asking("required", **sif), CALLER)
    scan = await scans.get(str(answer.scan_id))

    assert scan and scan.submission.image.startswith("quay.io/me/sif:") and scan.submission.build_id == answer.build_id
    assert scan_queue.jobs == []


async def test_a_dry_run_scans_nothing(container_requests: ContainerRequests, scan_queue: ScanQueue) -> None:
    """Wave hands out an id that is never scanned."""
    answer = await container_requests.submit(asking("required", container_file=RECIPE, dry_run=True), CALLER)

    assert (answer.scan_id, answer.succeeded, scan_queue.jobs) == (None, True, [])


async def test_a_build_is_scanned_when_it_has_ended(
    container_requests: ContainerRequests, scan_queue: ScanQueue, scans: MemoryScans
) -> None:
    """The id is Wave's, and exists at once; the scanner publishes the job at the end of the build."""
    answer = await container_requests.submit(asking("async", container_file=RECIPE), CALLER)

    assert answer.scan_id == "sc-80b9e02a956aa954_1" and scan_queue.jobs == []
    assert await scans.of_build(str(answer.build_id)) == [answer.scan_id]
    again = await container_requests.submit(asking("required", container_file=RECIPE), CALLER)
    assert again.scan_id == answer.scan_id


@pytest.mark.usefixtures("image")
async def test_a_mirror_is_scanned_with_all_platforms(
    scan_requests: ScanRequests, container_requests: ContainerRequests, scans: MemoryScans
) -> None:
    """After its copy, on request only; the record names the mirror."""
    scan_requests._scans_builds = True
    target = {"build_repository": "quay.io/acme", "tower_access_token": "key"}
    mirror = {"container_image": "ubuntu", "mirror": True, **target}
    plain = await container_requests.submit(asking(None, **mirror), CALLER)
    answer = await container_requests.submit(asking("async", **mirror), CALLER)

    assert plain.scan_id is None and str(answer.build_id).startswith("mr-")
    scan = await scans.get(str(answer.scan_id))
    assert scan and (scan.submission.platforms, scan.submission.digest) == ((), None)
    assert scan.submission.image == str(answer.container_image)
    assert await scans.of_build(str(answer.build_id)) == [answer.scan_id]
    record = record_of(scan)
    assert (record.mirror_id, record.build_id) == (answer.build_id, None)


@pytest.mark.usefixtures("image")
async def test_the_scan_of_a_mirror_reads_its_source(container_requests: ContainerRequests, scans: MemoryScans) -> None:
    """With the credentials of the client: one that may only push gets no packages of layers that the target has."""
    pusher = replace(CALLER, principal=PUBLIC, push_principal=limited_to(["quay.io/acme"]))
    target = {"build_repository": "quay.io/acme", "tower_access_token": "key"}
    request = asking("async", container_image="ubuntu", mirror=True, **target)
    answer = await container_requests.submit(request, pusher)

    scan = await scans.get(str(answer.scan_id))
    assert scan and (scan.submission.source, scan.submission.principal) == (IMAGE, PUBLIC)
    assert scan.submission.read_image == parse_reference(IMAGE)


@pytest.mark.usefixtures("image")
async def test_the_scan_id_of_a_mirror_does_not_follow_from_its_name(container_requests: ContainerRequests) -> None:
    """The name of a copy is easy to guess, and the id opens the SBOM of a private image."""
    target = {"build_repository": "quay.io/acme", "tower_access_token": "key"}
    answer = await container_requests.submit(asking("async", container_image="ubuntu", mirror=True, **target), CALLER)

    copy = parse_reference(str(answer.container_image))
    for platforms in ((), ("linux/amd64",)):
        assert fingerprint(copy, None, platforms) not in str(answer.scan_id)


async def test_a_token_opens_the_image_that_its_required_scan_judges(
    container_requests: ContainerRequests, image: Digest, grants: MemoryGrants
) -> None:
    """A registry could serve a harmless image to the scan, and another one under the same tag to the pull."""
    required = await container_requests.submit(asking("required"), CALLER)
    advisory = await container_requests.submit(asking("async"), CALLER)

    opened = [await grants.get(str(answer.container_token)) for answer in (required, advisory)]
    assert [grant.image for grant in opened if grant] == [IMAGE.replace(":latest", f"@{image}"), IMAGE]
    assert required.target_image.endswith(f"/library/ubuntu@{image}")


async def test_a_request_that_joins_a_build_gets_a_scan(
    container_requests: ContainerRequests, scans: MemoryScans
) -> None:
    """In Wave, its status is 404 if the first request wanted none."""
    first = await container_requests.submit(asking("none", container_file=RECIPE), CALLER)
    joined = await container_requests.submit(asking("required", container_file=RECIPE), CALLER)

    assert first.build_id == joined.build_id and first.scan_id is None
    assert await scans.of_build(str(first.build_id)) == [joined.scan_id]


async def test_a_build_that_ends_meanwhile_is_scanned_at_once(
    scan_requests: ScanRequests, scan_queue: ScanQueue, container_requests: ContainerRequests, builds: MemoryBuilds
) -> None:
    """Its end was published before the scan was stored."""
    answer = await container_requests.submit(asking("async", container_file=RECIPE), CALLER)
    waiting = ScanRequest(scan_id=answer.scan_id, is_new=True, build_id=answer.build_id)
    await scan_requests.publish(waiting)
    assert scan_queue.jobs == []

    result = BuildResult(succeeded=True, exit_status=0, started=NOON, finished=NOON, digest=digest_of(b"x"))
    await builds.finish(str(answer.build_id), result)
    await scan_requests.publish(waiting)

    assert scan_queue.jobs == [answer.scan_id]


async def test_builds_are_scanned_by_default_if_the_operator_says_so(
    scan_requests: ScanRequests, container_requests: ContainerRequests, scanners: RunningScanners
) -> None:
    """As Wave does; without a scanner there is no warning, because no client asked for a scan."""
    scan_requests._scans_builds = True
    answer = await container_requests.submit(asking(None, container_file=RECIPE), CALLER)
    assert answer.scan_id == "sc-80b9e02a956aa954_1"

    scanners.running = False
    other = await container_requests.submit(asking(None, container_file="RlJPTSBhbHBpbmU6My4yMQo="), CALLER)
    assert (other.scan_id, other.warnings) == (None, ())
