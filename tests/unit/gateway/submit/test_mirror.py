"""Mirrors are started once for equal requests, and only for callers who may read and push."""

import pytest
from msgspec.structs import replace

from gateway.access.images.image_access import ImageAccess
from gateway.domain.access.identity import ANONYMOUS, Caller
from gateway.domain.server_config import ServerConfig
from gateway.submit.builds.dispatch import Dispatcher
from gateway.submit.builds.mirror import MirrorStarter
from gateway.submit.builds.start import BuildStarter
from gateway.submit.submit import ContainerRequests
from swell.api.containers import ContainerRequest, ScanMode
from swell.api.mirrors import MirrorRequest
from swell.errors import BadRequest, ScopeRequired, TooLarge
from swell.oci.digest import digest_of
from swell.registry.credentials.principal import PUBLIC, Principal
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import BuildResult
from tests.unit.gateway.doubles import CALLER, NOON, MemoryQueue, MemoryRegistry, mirror_starter

SOURCE, TARGET = "quay.io/acme/tool:2.1", "registry.example.org/mirror/acme/tool:2.1"
REQUEST = ContainerRequest(
    container_image=SOURCE, mirror=True, build_repository="registry.example.org/mirror", tower_access_token="key"
)
FREEZE = ContainerRequest(
    container_file="RlJPTSBhbHBpbmU6My4yMApSVU4gYXBrIGFkZCBqcQo=",
    freeze=True,
    build_repository="registry.example.org/mirror/team",
    tower_access_token="key",
)
LIST = MirrorRequest(images=(SOURCE, "debian:13"), build_repository="registry.example.org")


@pytest.fixture
def mirrors(
    server_config: ServerConfig,
    registry: MemoryRegistry,
    builds: MemoryBuilds,
    starter: BuildStarter,
    access: ImageAccess,
    dispatcher: Dispatcher,
) -> MirrorStarter:
    for image in (SOURCE, "docker.io/library/debian:13"):
        registry.push(image)
    return mirror_starter(server_config, registry, builds, starter, access, dispatcher)


async def test_the_job_names_the_record_and_nothing_secret(
    container_requests: ContainerRequests, registry: MemoryRegistry, queue: MemoryQueue, builds: MemoryBuilds
) -> None:
    """Images, digests and principals are in the record, which the builder reads."""
    registry.push(SOURCE)

    answer = await container_requests.submit(REQUEST, CALLER)

    [job] = queue.mirrors
    assert (job.id, job.target_image, answer.build_id, answer.target_image) == (answer.build_id, TARGET, job.id, TARGET)
    build = await builds.get(job.id)
    assert build is not None
    [image] = build.submission.mirror
    assert (image.source, image.target, image.digest) == (SOURCE, TARGET, digest_of(SOURCE.encode()))


async def test_equal_requests_share_one_mirror(
    container_requests: ContainerRequests, registry: MemoryRegistry, queue: MemoryQueue
) -> None:
    """Until it ends; a moved tag or other credentials start another one."""
    registry.push(SOURCE)
    first = await container_requests.submit(REQUEST, CALLER)
    again = await container_requests.submit(REQUEST, CALLER)
    other = replace(CALLER, principal=PUBLIC)
    third = await container_requests.submit(REQUEST, other)
    registry.images[SOURCE] = digest_of(b"moved")
    fourth = await container_requests.submit(REQUEST, CALLER)

    assert again.build_id == first.build_id
    assert len({first.build_id, third.build_id, fourth.build_id}) == 3
    assert [job.id for job in queue.mirrors] == [first.build_id, third.build_id, fourth.build_id]


async def test_cached_compares_the_digests_now(
    container_requests: ContainerRequests, registry: MemoryRegistry, builds: MemoryBuilds
) -> None:
    """The id is that of the mirror that made the copy, if its record exists; other copies have none."""
    registry.push(SOURCE)
    first = await container_requests.submit(REQUEST, CALLER)
    done = BuildResult(succeeded=True, exit_status=0, started=NOON, finished=NOON)
    await builds.finish(first.build_id or "", done)
    registry.images[TARGET] = registry.images[SOURCE]

    again = await container_requests.submit(REQUEST, CALLER)
    registry.images[SOURCE] = registry.images[TARGET] = digest_of(b"both moved")
    unknown = await container_requests.submit(REQUEST, CALLER)

    assert (again.build_id, again.cached, again.succeeded) == (first.build_id, True, True)
    assert (unknown.build_id, unknown.cached, unknown.succeeded) == (None, None, True)


async def test_a_copy_is_scanned_like_a_build(container_requests: ContainerRequests, registry: MemoryRegistry) -> None:
    """A required scan of a mirror is requested with it, and runs when the copy is complete."""
    registry.push(SOURCE)

    answer = await container_requests.submit(replace(REQUEST, scan_mode=ScanMode.REQUIRED), CALLER)

    assert answer.scan_id and answer.scan_id.startswith("sc-")
    assert answer.build_id and answer.build_id.startswith("mr-")


async def test_a_caller_without_the_scope_starts_nothing(
    container_requests: ContainerRequests, registry: MemoryRegistry, mirrors: MirrorStarter, queue: MemoryQueue
) -> None:
    """The target belongs to others, so pushing needs `operator-push`."""
    stranger = Caller(ANONYMOUS, "203.0.113.9", PUBLIC, Principal("operator:quay.io/elsewhere"))

    with pytest.raises(ScopeRequired, match="operator-push"):
        await container_requests.submit(REQUEST, stranger)
    with pytest.raises(ScopeRequired, match="operator-push"):
        await mirrors.submit(LIST, stranger)

    assert queue.mirrors == []


async def test_a_mirror_does_not_replace_the_image_of_a_build(
    container_requests: ContainerRequests, registry: MemoryRegistry, queue: MemoryQueue
) -> None:
    """Another client's request for that build would get the copy: its tag follows from the recipe."""
    frozen = await container_requests.submit(FREEZE, CALLER)
    repository, _, tag = frozen.target_image.rpartition(":")
    source = f"evil.example.net/{repository.rpartition('/')[2]}:{tag}"
    registry.push(source)

    with pytest.raises(BadRequest, match=f"the image of the build {frozen.build_id}"):
        await container_requests.submit(
            replace(REQUEST, container_image=source, build_repository=repository.rpartition("/")[0]), CALLER
        )

    assert queue.mirrors == []


@pytest.mark.parametrize("has_ended", [False, True])
async def test_a_build_does_not_take_the_copy_of_a_mirror_for_its_image(
    container_requests: ContainerRequests, registry: MemoryRegistry, builds: MemoryBuilds, has_ended: bool
) -> None:
    """Neither while the mirror runs, nor later."""
    expected = await container_requests.submit(replace(FREEZE, dry_run=True), CALLER)
    repository, _, tag = expected.target_image.rpartition(":")
    source = f"evil.example.net/{repository.rpartition('/')[2]}:{tag}"
    registry.push(source)
    mirror = await container_requests.submit(
        replace(REQUEST, container_image=source, build_repository=repository.rpartition("/")[0]), CALLER
    )
    assert mirror.target_image == expected.target_image
    if has_ended:
        registry.images[mirror.target_image] = registry.images[source]
        result = BuildResult(succeeded=True, exit_status=0, started=NOON, finished=NOON)
        await builds.finish(str(mirror.build_id), result)

    frozen = await container_requests.submit(FREEZE, CALLER)

    assert frozen.build_id != mirror.build_id and str(frozen.build_id).startswith("bd-")
    assert frozen.cached is False


async def test_a_list_is_one_mirror(mirrors: MirrorStarter, queue: MemoryQueue, builds: MemoryBuilds) -> None:
    """Its images stay in order, under the names of their repositories."""
    answer = await mirrors.submit(LIST, CALLER)

    [job] = queue.mirrors
    build = await builds.get(job.id)
    assert build is not None and job.id == answer.mirror_id
    targets = ["registry.example.org/acme/tool:2.1", "registry.example.org/library/debian:13"]
    assert [image.target for image in build.submission.mirror] == targets
    assert [each.target_image for each in answer.images] == targets


async def test_a_dry_run_of_a_list_adds_up_what_is_missing(mirrors: MirrorStarter, queue: MemoryQueue) -> None:
    """Nothing is started."""
    answer = await mirrors.submit(replace(LIST, dry_run=True), CALLER)

    assert (answer.missing, answer.mirror_id, queue.mirrors) == (20, None, [])


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (replace(LIST, images=()), BadRequest, "at least one"),
        (replace(LIST, images=tuple(f"debian:{number}" for number in range(51))), TooLarge, "more than 50"),
        (replace(LIST, images=("a b",)), BadRequest, "images: 'a b'"),
        (replace(LIST, images=("quay.io/a/b:1", "ghcr.io/a/b:1")), BadRequest, "two images"),
        (replace(LIST, images=("debian:99",)), BadRequest, "debian:99 does not exist"),
        (replace(LIST, build_repository=""), BadRequest, "buildRepository"),
        (replace(LIST, build_repository="no-registry/path"), BadRequest, "name of a registry"),
    ],
)
async def test_an_invalid_list_is_refused(
    mirrors: MirrorStarter, request_: MirrorRequest, error: type[BadRequest], message: str
) -> None:
    """The message names the member or the image."""
    with pytest.raises(error, match=message):
        await mirrors.submit(request_, CALLER)
