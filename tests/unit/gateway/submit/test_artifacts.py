"""SIF files, and images for several platforms."""

import base64
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from gateway.access.images.image_access import ImageAccess
from gateway.builds.download import Downloads
from gateway.builds.first_status import FirstStatus
from gateway.builds.queries import BuildQueries
from gateway.domain.access.identity import ANONYMOUS, Caller, queue_of
from gateway.submit.builds.dispatch import Dispatcher
from gateway.submit.submit import ContainerRequests
from swell.api.containers import BuildOptions, ContainerConfig, ContainerLayer, ContainerRequest, NameStrategy
from swell.api.packages import Packages, PackageType
from swell.errors import BadRequest, BuildFailed, NotFound, ScopeRequired, TooManyRequests, Unavailable
from swell.jobs.messages import BuildJob
from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_MANIFEST
from swell.registry.credentials.principal import OPERATOR
from swell.store.attestations import Attestation
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import FROM_CLIENT, Submission
from tests.unit.gateway.doubles import (
    CALLER,
    NOON,
    CountedBuilds,
    KnownEnds,
    MemoryGrants,
    MemoryImages,
    MemoryQueue,
    MemoryRegistry,
    ended,
    scan_status,
)

BOTH = "linux/amd64,linux/arm64"
MINE = "quay.io/org/img"
SAMTOOLS = Packages(type=PackageType.CONDA, entries=("samtools=1.17",))
DEFINITION = "Bootstrap: docker\nFrom: debian:12\n%post\n    true\n%environment\n    export A=1\n"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def container_request(**fields: object) -> ContainerRequest:
    return ContainerRequest(**{"build_repository": MINE, "freeze": True} | fields)  # type: ignore[arg-type]


def both(**fields: object) -> ContainerRequest:
    return container_request(**{"container_file": encoded("FROM debian:12\n"), "container_platform": BOTH} | fields)


# --- SIF files


async def test_a_definition_is_recorded_as_sent(
    container_requests: ContainerRequests, queue: MemoryQueue, builds: MemoryBuilds
) -> None:
    """The engine gets a Dockerfile; the name, the id and the record use the text of the request."""
    request = container_request(container_file=encoded(DEFINITION), format="sif")
    answer = await container_requests.submit(request, CALLER)

    (job,) = queue.jobs
    build = await builds.get(job.id)
    assert build
    assert (build.submission.containerfile, build.submission.sif) == (DEFINITION, True)
    assert job.containerfile.startswith("FROM docker.io/library/debian:12\nUSER 0\n")
    assert job.sif
    assert (job.sif.text, job.sif.environment) == (DEFINITION, "    export A=1\n")
    assert answer.target_image == answer.container_image == job.target_image
    assert re.fullmatch(r"oras://quay\.io/org/img:[0-9a-f]{16}", job.target_image)


async def test_an_existing_sif_file_is_found_without_its_scheme(
    container_requests: ContainerRequests, registry: MemoryRegistry, queue: MemoryQueue
) -> None:
    """Registries do not use oras://."""
    request = container_request(container_file=encoded(DEFINITION), format="sif")
    dry = await container_requests.submit(
        container_request(container_file=request.container_file, format="sif", dry_run=True), CALLER
    )
    registry.push(dry.container_image.removeprefix("oras://"))

    answer = await container_requests.submit(request, CALLER)

    assert (answer.target_image, answer.succeeded, queue.jobs) == (dry.target_image, True, [])


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ({"packages": SAMTOOLS}, r"oras://quay\.io/org/img:samtools-1\.17--\w{16}"),
        (
            {"packages": SAMTOOLS, "name_strategy": NameStrategy.IMAGE_SUFFIX},
            r"oras://quay\.io/org/img/samtools:1\.17--\w{16}",
        ),
        ({"container_file": encoded("FROM debian:12\n")}, r"oras://quay\.io/org/img:\w{16}"),
    ],
)
async def test_sif_files_are_named_like_images(
    container_requests: ContainerRequests, queue: MemoryQueue, fields: dict[str, object], target: str
) -> None:
    """The container id and the tools are part of the tag."""
    answer = await container_requests.submit(container_request(format="sif", **fields), CALLER)

    assert re.fullmatch(target, answer.target_image)
    assert queue.jobs[0].sif


async def test_a_dockerfile_is_frozen_as_a_dockerfile(
    container_requests: ContainerRequests, queue: MemoryQueue
) -> None:
    """The config is written in the language of the recipe, also for a SIF file."""
    config = ContainerConfig(env=("A=1",))
    text = "FROM debian:12\nENTRYPOINT []\n"
    await container_requests.submit(
        container_request(container_file=encoded(text), container_config=config, format="sif"), CALLER
    )

    assert 'ENV A="1"' in queue.jobs[0].containerfile


async def test_an_unsupported_definition_starts_no_build(
    container_requests: ContainerRequests, queue: MemoryQueue, grants: MemoryGrants, limits: CountedBuilds
) -> None:
    """The request fails instead of the build."""
    request = container_request(container_file=encoded(DEFINITION + "%setup\n    true\n"), format="sif")

    with pytest.raises(BadRequest, match="%setup"):
        await container_requests.submit(request, CALLER)

    assert (queue.jobs, grants.stored, limits.taken) == ([], {}, 0)


# --- downloading them


@pytest.fixture
def downloads(builds: MemoryBuilds, access: ImageAccess) -> Downloads:
    images = MemoryImages()
    descriptor = {"mediaType": "x", "digest": digest_of(b"sif"), "size": 3}
    fields = {"schemaVersion": 2, "config": descriptor, "layers": [descriptor]}
    images.document = Document(OCI_MANIFEST, msgspec.json.encode(fields))
    return Downloads(builds, images, access, now=lambda: NOON)


STRANGER = Caller(ANONYMOUS, "198.51.100.9")


async def submitted(builds: MemoryBuilds, *, sif: bool = True, **fields: Any) -> str:
    submission = Submission(
        container_id="c",
        target_image="oras://quay.io/org/img:c",
        containerfile=DEFINITION,
        platform="linux/amd64",
        created=NOON,
        sif=sif,
    )
    return (await builds.submit(replace(submission, **fields)))[0]


@pytest.mark.parametrize(
    "fields", [{"sources": (FROM_CLIENT,)}, {"options": BuildOptions(build_secrets={"token": "npm"})}]
)
async def test_a_file_with_more_than_public_inputs_is_not_for_everyone_with_its_id(
    builds: MemoryBuilds, downloads: Downloads, fields: dict[str, Any]
) -> None:
    """The rule is that of images: the id follows from digests of the inputs, which are no secret."""
    build_id = await submitted(builds, client=queue_of(CALLER), **fields)
    await builds.finish(build_id, replace(ended(succeeded=True), digest=digest_of(b"manifest")))

    with pytest.raises(ScopeRequired):
        await downloads.sif(build_id, STRANGER)

    assert (await downloads.sif(build_id, Caller(ANONYMOUS, "", OPERATOR))).url
    if "sources" in fields:
        assert (await downloads.sif(build_id, CALLER)).url


async def test_the_file_of_a_build_can_be_downloaded(builds: MemoryBuilds, downloads: Downloads) -> None:
    """The build id gives access to the file that the build pushed, also after the tag moves."""
    build_id = await submitted(builds)
    await builds.finish(build_id, replace(ended(succeeded=True), digest=digest_of(b"manifest")))

    location = await downloads.sif(build_id, STRANGER)

    assert location.url.endswith(digest_of(b"sif"))


async def test_a_running_build_has_no_download(builds: MemoryBuilds, downloads: Downloads) -> None:
    """The client can retry later."""
    with pytest.raises(Unavailable, match="still running"):
        await downloads.sif(await submitted(builds), STRANGER)


async def test_the_download_of_a_failed_build_returns_its_error(builds: MemoryBuilds, downloads: Downloads) -> None:
    """The message is that of the build."""
    build_id = await submitted(builds)
    await builds.finish(build_id, ended(succeeded=False, message="no shell"))

    with pytest.raises(BuildFailed, match="no shell"):
        await downloads.sif(build_id, STRANGER)


async def test_only_builds_of_sif_files_have_a_download(builds: MemoryBuilds, downloads: Downloads) -> None:
    """Images are pulled from a registry."""
    for build_id in (await submitted(builds, sif=False), "bd-nothing_1"):
        with pytest.raises(NotFound):
            await downloads.sif(build_id, STRANGER)


# --- several platforms


class NoLogs:
    """No test here requests a log."""

    async def complete(self, build_id: str) -> AsyncIterator[bytes] | None:
        return None

    def so_far(self, build_id: str) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def attestation(self, build_id: str, kind: Attestation) -> bytes | None:
        return None

    async def lock(self, build_id: str) -> AsyncIterator[bytes] | None:
        return None


def names(jobs: list[BuildJob]) -> dict[str, str]:
    return {job.platform: job.target_image for job in jobs}


@pytest.mark.parametrize("platforms", [BOTH, "arm64, amd64", "linux/arm64,x86_64"])
async def test_two_platforms_are_two_builds_and_an_index(
    container_requests: ContainerRequests,
    queue: MemoryQueue,
    builds: MemoryBuilds,
    grants: MemoryGrants,
    platforms: str,
) -> None:
    """The order of the platforms does not matter; the index is in the same repository."""
    answer = await container_requests.submit(both(container_platform=platforms), CALLER)

    (index,) = queue.indexes
    build = await builds.get(index.id)
    assert build
    assert names(queue.jobs).keys() == set(BOTH.split(","))
    assert [(each.platform, each.target_image) for each in build.submission.children] == list(names(queue.jobs).items())
    assert [each.build_id for each in build.submission.children] == [job.id for job in queue.jobs]
    assert (index.id, index.target_image, index.platform) == (answer.build_id, answer.container_image, BOTH)
    assert grants.stored[answer.request_id].platform == grants.records[answer.request_id].platform == BOTH


async def test_each_platform_has_its_own_id(container_requests: ContainerRequests, queue: MemoryQueue) -> None:
    """The published vectors: the id of the pair, and the id of each platform alone."""
    request = both(container_file=encoded("FROM ubuntu:latest"), build_repository="docker.io/wave")
    answer = await container_requests.submit(request, CALLER)

    assert answer.container_image == "docker.io/library/wave:19bc00e2e889a343"
    assert names(queue.jobs)["linux/amd64"] == "docker.io/wave:33d3626c806a9022"


@pytest.mark.parametrize(
    ("strategy", "index", "child"),
    [
        (None, MINE + ":samtools-1.17--{}", MINE + ":samtools-1.17--{}"),
        (NameStrategy.NONE, MINE + ":{}", MINE + ":samtools-1.17--{}"),
        (NameStrategy.IMAGE_SUFFIX, MINE + "/samtools:1.17--{}", MINE + "/samtools:samtools-1.17--{}"),
    ],
)
async def test_the_index_is_named_like_an_image(
    container_requests: ContainerRequests, queue: MemoryQueue, strategy: NameStrategy | None, index: str, child: str
) -> None:
    """Its images are in the same repository, with their tools before the id."""
    request = both(container_file=None, packages=SAMTOOLS, name_strategy=strategy)
    answer = await container_requests.submit(request, CALLER)

    assert answer.build_id
    assert answer.target_image == index.format(answer.build_id[3:19])
    assert [job.target_image for job in queue.jobs] == [child.format(job.id[3:19]) for job in queue.jobs]


async def test_a_dry_run_of_two_platforms_starts_nothing(
    container_requests: ContainerRequests, queue: MemoryQueue
) -> None:
    """It returns the name of the index."""
    dry = await container_requests.submit(both(dry_run=True), CALLER)
    real = await container_requests.submit(both(), CALLER)

    assert dry.target_image == real.target_image
    assert len(queue.jobs) == 2


async def test_the_same_request_twice_is_one_build(container_requests: ContainerRequests, queue: MemoryQueue) -> None:
    """Also with several platforms."""
    first = await container_requests.submit(both(), CALLER)
    second = await container_requests.submit(both(), CALLER)

    assert first.build_id == second.build_id
    assert (len(queue.jobs), len(queue.indexes)) == (2, 1)


async def test_a_cancelled_build_of_a_platform_is_not_shared(
    container_requests: ContainerRequests, queue: MemoryQueue, builds: MemoryBuilds
) -> None:
    """An index would wait for it, and fail."""
    first = await container_requests.submit(both(), CALLER)
    ending = queue.jobs[0]
    await builds.begin(ending.id)
    await builds.cancel(ending.id, ended(succeeded=False), request_id="", user="", all_requests=True)
    await builds.finish(first.build_id or "", ended(succeeded=False))

    await container_requests.submit(both(), CALLER)

    assert [job.id for job in queue.jobs if job.target_image == ending.target_image] == [
        ending.id,
        ending.id.replace("_1", "_2"),
    ]


async def test_an_existing_image_of_a_platform_is_not_built_again(
    container_requests: ContainerRequests, queue: MemoryQueue, registry: MemoryRegistry, builds: MemoryBuilds
) -> None:
    """A running or finished build of that platform is shared, and not counted again."""
    alone = await container_requests.submit(both(container_platform="linux/arm64"), CALLER)
    queue.jobs.clear()
    await container_requests.submit(both(), CALLER)
    running = await builds.get(queue.indexes[0].id)

    registry.push(alone.container_image)
    await builds.finish(str(alone.build_id), ended(succeeded=True))
    await builds.finish(queue.indexes[0].id, ended(succeeded=False))
    await container_requests.submit(both(), CALLER)
    done = await builds.get(queue.indexes[1].id)

    assert [job.platform for job in queue.jobs] == ["linux/amd64"]
    assert running
    assert done
    assert running.submission.children[1].build_id == alone.build_id
    assert done.submission.children[1].build_id is None


async def test_each_platform_counts_as_a_build(
    container_requests: ContainerRequests, limits: CountedBuilds, queue: MemoryQueue
) -> None:
    """The index does not count."""
    await container_requests.submit(both(), CALLER)
    assert limits.taken == 2

    limits.most = 2
    with pytest.raises(TooManyRequests):
        await container_requests.submit(both(container_file=encoded("FROM b\n")), CALLER)
    assert len(queue.indexes) == 1


async def test_an_error_for_one_platform_cancels_the_others(
    container_requests: ContainerRequests, dispatcher: Dispatcher, limits: CountedBuilds, queue: MemoryQueue
) -> None:
    """Their images would be useless, and would count."""
    limits.most = 1
    with pytest.raises(TooManyRequests):
        await container_requests.submit(both(), CALLER)
    await dispatcher.dispatch()

    assert limits.taken == 0
    assert queue.jobs == []


async def test_each_platform_gets_its_own_layers(container_requests: ContainerRequests, queue: MemoryQueue) -> None:
    """The URL of a Fusion layer names its architecture; other layers suit all platforms."""

    def layer(name: str) -> ContainerLayer:
        digest = digest_of(name.encode())
        return ContainerLayer(f"https://x.io/{name}.tar.gz", gzip_digest=digest, gzip_size=1, tar_digest=digest)

    shared, amd64, arm64 = layer("shared"), layer("fusion-amd64"), layer("fusion-aarch64")
    text = encoded("FROM scratch\nENTRYPOINT []\n")
    config = ContainerConfig(layers=(amd64, shared, arm64))
    await container_requests.submit(both(container_file=text, container_config=config), CALLER)

    layers = {job.platform: job.layers for job in queue.jobs}
    assert layers == {
        "linux/amd64": (amd64.gzip_digest, shared.gzip_digest),
        "linux/arm64": (shared.gzip_digest, arm64.gzip_digest),
    }
    for job in queue.jobs:
        assert [f"sha256:{each}" for each in re.findall("layer-([0-9a-f]{64})", job.containerfile)] == list(job.layers)


async def test_included_images_of_several_platforms_must_be_frozen(container_requests: ContainerRequests) -> None:
    """Each platform has other layers; one container config cannot hold both."""
    request = both(freeze=False, build_repository=None, container_includes=("debian:12",))

    with pytest.raises(BadRequest, match="containerIncludes"):
        await container_requests.submit(request, CALLER)


async def test_lost_jobs_of_images_and_indexes_are_published(
    container_requests: ContainerRequests, dispatcher: Dispatcher, queue: MemoryQueue, builds: MemoryBuilds
) -> None:
    """A gateway may crash between storing and publishing; another one publishes both kinds."""
    await container_requests.submit(both(), CALLER)
    stored = [job.id for job in (*queue.jobs, *queue.indexes)]
    queue.jobs.clear()
    queue.indexes.clear()
    for build_id in stored:
        builds.set_age(build_id, timedelta(minutes=2))

    assert await dispatcher.republish_lost() == 3
    assert [job.id for job in (*queue.jobs, *queue.indexes)] == stored


async def test_the_record_names_the_builds_of_the_platforms(
    container_requests: ContainerRequests, queue: MemoryQueue, builds: MemoryBuilds, grants: MemoryGrants
) -> None:
    """The index waits for these builds."""
    following = BuildQueries(
        grants,
        MemoryImages(),
        builds,
        NoLogs(),
        "http://wave.example.org",
        FirstStatus(grants, KnownEnds()),
        scan_status(),
    )
    answer = await container_requests.submit(both(), CALLER)
    record = await following.build_record(str(answer.build_id))

    assert record.build_child_ids
    assert [(each.value, each.id) for each in record.build_child_ids.refs] == [
        (job.platform, job.id) for job in queue.jobs
    ]
