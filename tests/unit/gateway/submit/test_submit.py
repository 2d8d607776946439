"""Submitting a container request: the granted image and the started build."""

import asyncio
import base64
import gzip
import io
import tarfile
import zlib
from datetime import timedelta

import pytest
from msgspec import structs

from gateway.access.images.image_access import ImageAccess
from gateway.domain.access.identity import Identity, caller_of, tenant_of
from gateway.domain.repositories import Repositories
from gateway.domain.server_config import ServerConfig
from gateway.submit.builds.dispatch import Dispatcher
from gateway.submit.builds.existing import REGISTRY_RETRY_SECONDS
from gateway.submit.builds.start import BuildStarter
from gateway.submit.prepare import RequestPreparer
from gateway.submit.submit import ContainerRequests
from swell.api.containers import ContainerConfig, ContainerLayer, ContainerRequest
from swell.api.lenient import decode
from swell.errors import (
    BadRequest,
    DigestInvalid,
    SwellError,
    TooManyRequests,
    Unavailable,
    UpstreamBroken,
    UpstreamDown,
    UpstreamFailed,
)
from swell.oci.digest import digest_of
from swell.store.builds import CancelOutcome, CancelState
from swell.store.builds.memory import MemoryBuilds
from swell.testing.images import make_layer
from tests.unit.gateway.doubles import (
    CALLER,
    NOON,
    CountedBuilds,
    KnownInspections,
    MemoryBlobs,
    MemoryGrants,
    MemoryQueue,
    MemoryRegistry,
    ended,
    mirror_starter,
    scan_requests,
)

TARGET = "registry.example.com/team/builds:c44968632f89dd6c"
RECIPE = ContainerRequest(container_file=base64.b64encode(b"FROM alpine:3.20\nRUN apk add jq\n").decode())


def recipe(number: int) -> ContainerRequest:
    """One of many distinct requests."""
    return ContainerRequest(container_file=base64.b64encode(f"FROM alpine\nRUN echo {number}\n".encode()).decode())


def tar_gz(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


def data_layer(content: bytes, **claims: object) -> ContainerLayer:
    return ContainerLayer(f"data:{base64.b64encode(content).decode()}", **claims)  # type: ignore[arg-type]


async def test_an_image_is_granted_at_once(container_requests: ContainerRequests, registry: MemoryRegistry) -> None:
    """E1 of the API's golden examples: no build is needed, so the request has succeeded."""
    registry.push("quay.io/acme/tool:2.1")

    answer = await container_requests.submit(ContainerRequest(container_image="quay.io/acme/tool:2.1"), CALLER)

    assert answer.target_image == f"wave.example.org/wt/{answer.container_token}/acme/tool:2.1"
    assert answer.container_image == "quay.io/acme/tool:2.1"
    assert answer.request_id == answer.container_token
    assert answer.expiration == NOON + timedelta(hours=36)
    assert (answer.build_id, answer.cached, answer.succeeded) == (None, None, True)


async def test_a_short_name_means_docker_hub(container_requests: ContainerRequests, registry: MemoryRegistry) -> None:
    """A name without a registry means docker.io/library, as for Docker's clients."""
    registry.push("docker.io/library/debian:12")

    answer = await container_requests.submit(ContainerRequest(container_image="debian:12"), CALLER)

    assert answer.target_image.endswith("/library/debian:12")


async def test_a_missing_image_is_refused(container_requests: ContainerRequests, grants: MemoryGrants) -> None:
    """E23: the request fails instead of the pull, and returns no token."""
    with pytest.raises(BadRequest, match="quay.io/acme/secret:1 does not exist or cannot be accessed"):
        await container_requests.submit(ContainerRequest(container_image="quay.io/acme/secret:1"), CALLER)

    assert grants.stored == {}


async def test_a_container_file_starts_a_build(
    container_requests: ContainerRequests, queue: MemoryQueue, grants: MemoryGrants
) -> None:
    """E3: the response has the image's name before the image exists; a pull waits for the build."""
    answer = await container_requests.submit(RECIPE, CALLER)

    assert answer.container_image == TARGET
    assert answer.target_image.endswith("/team/builds:c44968632f89dd6c")
    assert (answer.build_id, answer.cached, answer.succeeded) == ("bd-c44968632f89dd6c_1", False, None)
    assert [(job.id, job.target_image) for job in queue.jobs] == [("bd-c44968632f89dd6c_1", TARGET)]
    assert grants.stored[answer.request_id].build_id == "bd-c44968632f89dd6c_1"


async def test_the_same_request_again_is_the_same_build(
    container_requests: ContainerRequests, queue: MemoryQueue
) -> None:
    """The build id depends only on the inputs."""
    answers = [await container_requests.submit(RECIPE, CALLER) for _ in range(5)]

    assert {answer.build_id for answer in answers} == {"bd-c44968632f89dd6c_1"}
    assert len({answer.container_token for answer in answers}) == 5
    assert len(queue.jobs) == 1


async def test_an_existing_image_is_not_built_again(
    container_requests: ContainerRequests, registry: MemoryRegistry, builds: MemoryBuilds, queue: MemoryQueue
) -> None:
    """E4: the response says that the image is cached."""
    await container_requests.submit(RECIPE, CALLER)
    await builds.finish("bd-c44968632f89dd6c_1", ended(succeeded=True))
    registry.push(TARGET)

    answer = await container_requests.submit(RECIPE, CALLER)

    assert (answer.build_id, answer.cached, answer.succeeded) == ("bd-c44968632f89dd6c_1", True, True)
    assert len(queue.jobs) == 1


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("platforms", ["linux/amd64", "linux/amd64,linux/arm64"])
async def test_an_id_of_two_recipes_does_not_deliver_the_wrong_image(
    container_requests: ContainerRequests,
    registry: MemoryRegistry,
    builds: MemoryBuilds,
    queue: MemoryQueue,
    ends: bool,
    platforms: str,
) -> None:
    """Two container files with one id were found in five minutes: a client may publish one and have built the other."""
    first, second = (
        ContainerRequest(container_file=base64.b64encode(f"FROM alpine:3.20\nRUN echo {text}\n".encode()).decode())
        for text in ("aac8de63e9a33ca9", "fd90db9ec870ac10")
    )
    answer = await container_requests.submit(first, CALLER)
    assert answer.build_id is not None
    if ends:
        await builds.finish(answer.build_id, ended(succeeded=True))
        registry.push(answer.container_image)

    for rebuild in (False, True):
        request = structs.replace(second, container_platform=platforms, rebuild=rebuild)
        with pytest.raises(BadRequest, match="another request has the container id fec877de271e09af"):
            await container_requests.submit(request, CALLER)

    assert len(queue.jobs) == 1
    assert (await container_requests.submit(first, CALLER)).container_image == answer.container_image


@pytest.mark.parametrize("rebuild", [False, True])
async def test_a_harmless_recipe_does_not_get_the_image_of_another_one_after_its_record_has_expired(
    container_requests: ContainerRequests, registry: MemoryRegistry, builds: MemoryBuilds, rebuild: bool
) -> None:
    """The image stays in the registry for ever: the attacker would only have to wait."""
    first, second = (
        ContainerRequest(container_file=base64.b64encode(f"FROM alpine:3.20\nRUN echo {text}\n".encode()).decode())
        for text in ("aac8de63e9a33ca9", "fd90db9ec870ac10")
    )
    answer = await container_requests.submit(first, CALLER)
    assert answer.build_id is not None
    await builds.finish(answer.build_id, ended(succeeded=True))
    registry.push(answer.container_image)
    builds.expire(answer.build_id)

    with pytest.raises(BadRequest, match="another request has the container id fec877de271e09af"):
        await container_requests.submit(structs.replace(second, rebuild=rebuild), CALLER)
    assert (await container_requests.submit(first, CALLER)).succeeded


def test_a_tenant_is_an_organisation_or_else_a_client() -> None:
    """Builders give builds of one tenant what earlier builds of it have stored."""
    callers = [
        caller_of(Identity(user=user, organisation=organisation), address)
        for user, organisation, address in (
            ("ada", "acme", "192.0.2.1"),
            ("bob", "acme", "192.0.2.2"),
            ("acme", "", "192.0.2.1"),
            ("", "", "192.0.2.1"),
            ("", "", "192.0.2.2"),
        )
    ]
    ada, bob, *others = map(tenant_of, callers)

    assert ada == bob
    assert len({ada, *others}) == 4


async def test_a_rebuild_needs_no_reason(
    container_requests: ContainerRequests,
    registry: MemoryRegistry,
    builds: MemoryBuilds,
    queue: MemoryQueue,
    limits: CountedBuilds,
) -> None:
    """An image that exists is built again, without results of earlier builds; that counts as a build."""
    await container_requests.submit(RECIPE, CALLER)
    await builds.finish("bd-c44968632f89dd6c_1", ended(succeeded=True))
    registry.push(TARGET)

    answer = await container_requests.submit(structs.replace(RECIPE, rebuild=True), CALLER)

    assert (answer.build_id, answer.cached, answer.succeeded) == ("bd-c44968632f89dd6c_2", False, None)
    assert [(job.is_rebuild, job.is_repeated) for job in queue.jobs] == [(False, False), (True, True)]
    assert limits.taken == 2


async def test_a_rebuild_joins_a_build_that_runs(
    container_requests: ContainerRequests, queue: MemoryQueue, limits: CountedBuilds
) -> None:
    """It makes the image as new as another one would, and one image has one build at a time."""
    await container_requests.submit(RECIPE, CALLER)

    answers = [await container_requests.submit(structs.replace(RECIPE, rebuild=True), CALLER) for _ in range(3)]

    assert {(answer.build_id, answer.cached) for answer in answers} == {("bd-c44968632f89dd6c_1", False)}
    assert (len(queue.jobs), limits.taken) == (1, 1)


async def test_a_dry_run_of_a_rebuild_says_that_it_would_build(
    container_requests: ContainerRequests, registry: MemoryRegistry, queue: MemoryQueue
) -> None:
    """`cached` answers what the request without `dryRun` would do."""
    registry.push(TARGET)

    answer = await container_requests.submit(structs.replace(RECIPE, rebuild=True, dry_run=True), CALLER)

    assert answer.cached is False
    assert queue.jobs == []


async def test_an_image_that_needs_no_build_is_not_rebuilt(
    container_requests: ContainerRequests, registry: MemoryRegistry
) -> None:
    """The member would have no effect, so it is a mistake."""
    registry.push("docker.io/library/debian:12")

    with pytest.raises(BadRequest, match="rebuild needs a build"):
        await container_requests.submit(ContainerRequest(container_image="debian:12", rebuild=True), CALLER)


async def test_an_unavailable_build_registry_is_a_temporary_error(
    container_requests: ContainerRequests, registry: MemoryRegistry, queue: MemoryQueue
) -> None:
    """It is part of this server: the client can only retry later."""
    registry.trouble = UpstreamBroken("registry.example.com closed the connection")
    with pytest.raises(Unavailable, match=r"pushed to is unavailable: registry\.example\.com closed") as caught:
        await container_requests.submit(RECIPE, CALLER)
    assert caught.value.retry_after == REGISTRY_RETRY_SECONDS

    registry.trouble = UpstreamDown(retry_after=17)
    with pytest.raises(Unavailable) as caught:
        await container_requests.submit(RECIPE, CALLER)
    assert caught.value.retry_after == 17
    assert queue.jobs == []


async def test_an_error_of_the_clients_registry_is_the_clients(
    container_requests: ContainerRequests, registry: MemoryRegistry
) -> None:
    """Also for a repository beside the server's, and for one with the same prefix."""
    registry.trouble = UpstreamBroken("no answer")
    for repository in ("quay.io/acme/mine", "registry.example.com/team/builds-of-mine"):
        with pytest.raises(UpstreamFailed, match="no answer"):
            await container_requests.submit(structs.replace(RECIPE, build_repository=repository), CALLER)


async def test_an_image_without_a_record_is_served_without_a_build_id(
    container_requests: ContainerRequests, registry: MemoryRegistry, queue: MemoryQueue
) -> None:
    """Images live longer than records in Redis; such an image is still valid."""
    registry.push(TARGET)

    answer = await container_requests.submit(RECIPE, CALLER)

    assert (answer.build_id, answer.cached, answer.succeeded) == (None, None, True)
    assert queue.jobs == []


@pytest.mark.parametrize("succeeded", [True, False])
async def test_a_build_without_an_image_is_built_again(
    container_requests: ContainerRequests, builds: MemoryBuilds, succeeded: bool
) -> None:
    """The build failed, or the image was deleted from the registry."""
    await container_requests.submit(RECIPE, CALLER)
    await builds.finish("bd-c44968632f89dd6c_1", ended(succeeded=succeeded))

    answer = await container_requests.submit(RECIPE, CALLER)

    assert (answer.build_id, answer.cached) == ("bd-c44968632f89dd6c_2", False)


async def test_a_build_refused_by_a_full_queue_does_not_count(
    container_requests: ContainerRequests, builds: MemoryBuilds, limits: CountedBuilds
) -> None:
    """The client may retry within its limit."""
    for number in range(8 + 100):
        await container_requests.submit(recipe(number), CALLER)
    with pytest.raises(TooManyRequests):
        await container_requests.submit(recipe(999), CALLER)

    assert limits.taken == 8 + 100


async def test_a_build_that_is_being_cancelled_is_not_shared(
    container_requests: ContainerRequests, builds: MemoryBuilds, queue: MemoryQueue
) -> None:
    """A request for the same image during the cancellation starts another build."""
    first = await container_requests.submit(RECIPE, CALLER)
    assert first.build_id
    await builds.begin(first.build_id)
    left = await builds.cancel(
        first.build_id, ended(succeeded=False), request_id=first.request_id, user="", all_requests=False
    )
    assert left == CancelOutcome(CancelState.STOPPING)

    second = await container_requests.submit(RECIPE, CALLER)

    assert second.build_id == "bd-c44968632f89dd6c_2"
    assert [job.id for job in queue.jobs] == [first.build_id, second.build_id]


async def test_an_inline_layer_is_stored_by_its_digest(
    container_requests: ContainerRequests, registry: MemoryRegistry, blobs: MemoryBlobs, grants: MemoryGrants
) -> None:
    """The grant has the layer's description without its content."""
    registry.push("docker.io/library/debian:12")
    content = tar_gz("opt/tool.sh", b"echo tool\n")
    config = ContainerConfig(layers=(data_layer(content, gzip_digest=digest_of(content), gzip_size=len(content)),))

    answer = await container_requests.submit(
        ContainerRequest(container_image="debian:12", container_config=config), CALLER
    )

    granted = grants.stored[answer.request_id].container_config
    assert blobs.stored == {digest_of(content): content}
    assert granted and granted.layers
    assert granted.layers[0].location == ""
    assert granted.layers[0].tar_digest == digest_of(gzip.decompress(content))


async def test_an_inline_layer_may_be_compressed_with_zlib(
    container_requests: ContainerRequests, registry: MemoryRegistry, blobs: MemoryBlobs, grants: MemoryGrants
) -> None:
    """Older clients of Wave send `gzip:`; the digest and the size describe the gzip inside."""
    registry.push("docker.io/library/debian:12")
    content = tar_gz("opt/tool.sh", b"echo tool\n")
    sent = ContainerLayer(
        "gzip:" + base64.b64encode(zlib.compress(content)).decode(), digest_of(content), len(content), None
    )
    config = ContainerConfig(layers=(sent,))

    answer = await container_requests.submit(
        ContainerRequest(container_image="debian:12", container_config=config), CALLER
    )

    granted = grants.stored[answer.request_id].container_config
    assert blobs.stored == {digest_of(content): content}
    assert granted and granted.layers
    assert (granted.layers[0].location, granted.layers[0].gzip_size) == ("", len(content))


async def test_a_layer_with_a_wrong_digest_is_refused(
    container_requests: ContainerRequests, registry: MemoryRegistry, blobs: MemoryBlobs
) -> None:
    """The digest of the content must equal the digest in the request."""
    registry.push("docker.io/library/debian:12")
    layer = data_layer(tar_gz("a", b"a"), gzip_digest="sha256:" + "0" * 64)
    request = ContainerRequest(container_image="debian:12", container_config=ContainerConfig(layers=(layer,)))

    with pytest.raises(DigestInvalid, match="gzipDigest"):
        await container_requests.submit(request, CALLER)

    assert blobs.stored == {}


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        (b"{}", BadRequest, "either containerImage or containerFile"),
        (b'{"containerImage":"a","containerFile":"RlJPTSBhCg=="}', BadRequest, "either"),
        (b'{"containerFile":"FROM alpine"}', BadRequest, "containerFile is not valid base64"),
        (b'{"containerFile":"/w=="}', BadRequest, "containerFile is not UTF-8 text"),
        (b'{"containerImage":"http://a"}', BadRequest, "http://"),
        (b'{"containerImage":"a b"}', BadRequest, "a b"),
        (b'{"containerImage":"a","containerPlatform":"sparc"}', BadRequest, "sparc"),
        (b'{"containerImage":"a","containerConfig":{"env":["=x"]}}', BadRequest, "NAME=value"),
        (b'{"containerImage":"a","containerConfig":{"layers":[{"location":"s3://b/k"}]}}', BadRequest, "location"),
        (b'{"containerImage":"a","containerConfig":{"layers":[{"location":"https://b/k"}]}}', BadRequest, "gzipDigest"),
        (b'{"containerImage":"a","containerConfig":{"layers":[{"location":"data:!"}]}}', BadRequest, "base64"),
        (b'{"containerImage":"a","buildContext":{"location":"data:"}}', BadRequest, "buildContext"),
        (b'{"containerImage":"a","freeze":true}', BadRequest, r"freeze needs a buildRepository of your own$"),
        (b"", BadRequest, "body"),
        (b"{", BadRequest, "body"),
        (b"[]", BadRequest, "object"),
        (b'{"containerConfig":{"env":[{}]}}', BadRequest, r"\$.containerConfig.env"),
    ],
)
async def test_an_error_message_names_the_member(
    container_requests: ContainerRequests, queue: MemoryQueue, body: bytes, error: type[SwellError], says: str
) -> None:
    """No build is started for an invalid request."""
    with pytest.raises(error, match=says):
        await container_requests.submit(decode(body, ContainerRequest), CALLER)

    assert queue.jobs == []


async def test_default_and_unknown_members_are_accepted(
    container_requests: ContainerRequests, registry: MemoryRegistry
) -> None:
    """Wave's command line sends every flag, and members that this server does not know."""
    registry.push("docker.io/library/ubuntu:22.04")
    body = (
        b'{"containerImage":"ubuntu:22.04","dryRun":false,"freeze":false,"mirror":false,"containerConfig":null,'
        b'"timestamp":"2026-11-23T12:59:39.823251298Z","towerEndpoint":"https://api.cloud.seqera.io","new":[1]}'
    )

    assert (await container_requests.submit(decode(body, ContainerRequest), CALLER)).succeeded


async def test_image_names_have_only_the_host_of_the_server(
    grants: MemoryGrants,
    registry: MemoryRegistry,
    builds: MemoryBuilds,
    starter: BuildStarter,
    dispatcher: Dispatcher,
    access: ImageAccess,
) -> None:
    """An image name has no path before the repository; links keep it (T3)."""
    registry.push("docker.io/library/a:latest")
    server_config = ServerConfig(
        server_url="https://example.org:8443/swell",
        repositories=Repositories(build="registry.example.com/team/builds"),
        token_ttl=timedelta(hours=1),
    )
    preparer = RequestPreparer(KnownInspections())
    mirrors = mirror_starter(server_config, registry, builds, starter, access, dispatcher)
    container_requests = ContainerRequests(
        server_config,
        grants,
        registry,
        builds,
        MemoryBlobs(),
        access,
        mirrors,
        preparer,
        starter,
        dispatcher,
        scan_requests(registry, builds),
    )

    answer = await container_requests.submit(ContainerRequest(container_image="a"), CALLER)

    assert answer.target_image == f"example.org:8443/wt/{answer.container_token}/library/a:latest"


async def test_large_inline_layers_do_not_block_the_event_loop(
    container_requests: ContainerRequests, registry: MemoryRegistry
) -> None:
    """To measure a tar of 100 MB takes a moment; other requests are answered meanwhile."""
    registry.push("docker.io/library/a:latest")
    header, zeros = make_layer("").tar[:512], gzip.compress(bytes(32 << 20))
    data = base64.b64encode(gzip.compress(header) + 3 * zeros).decode()
    config = ContainerConfig(layers=(ContainerLayer(f"data:{data}"),))
    slow_request = ContainerRequest(container_image="a", container_config=config)

    submitted = asyncio.create_task(container_requests.submit(slow_request, CALLER))
    turns = 0
    while not submitted.done():
        await asyncio.sleep(0.001)
        turns += 1

    assert (await submitted).succeeded
    assert turns > 10


ARM_IMAGE = ContainerRequest(container_image="quay.io/acme/tool:2.1", container_platform="linux/arm64")


@pytest.mark.parametrize(
    "request_",
    [ARM_IMAGE, structs.replace(ARM_IMAGE, freeze=True, build_repository="quay.io/me")],
    ids=["served", "frozen"],
)
async def test_an_image_that_lacks_the_platform_is_refused(
    container_requests: ContainerRequests, registry: MemoryRegistry, grants: MemoryGrants, request_: ContainerRequest
) -> None:
    """The error lists the available platforms; otherwise the pull would fail or return another platform."""
    registry.push("quay.io/acme/tool:2.1")
    registry.platforms = ("linux/amd64",)

    with pytest.raises(BadRequest, match="but for .*linux/amd64"):
        await container_requests.submit(request_, CALLER)

    assert not grants.stored


@pytest.mark.parametrize("server_config", [{"allows_missing_platforms": True}], indirect=True)
async def test_the_operator_may_allow_missing_platforms(
    container_requests: ContainerRequests, registry: MemoryRegistry
) -> None:
    """As Wave does: the request then returns an image for another platform."""
    registry.push("quay.io/acme/tool:2.1")
    registry.platforms = ("linux/amd64",)

    answer = await container_requests.submit(ARM_IMAGE, CALLER)

    assert answer.succeeded


@pytest.mark.parametrize("platform", ["windows/amd64", "darwin/arm64"])
async def test_only_linux_is_supported(container_requests: ContainerRequests, platform: str) -> None:
    """Builders run Linux, and layers are Linux file systems."""
    with pytest.raises(BadRequest, match="only linux"):
        await container_requests.submit(structs.replace(RECIPE, container_platform=platform), CALLER)
