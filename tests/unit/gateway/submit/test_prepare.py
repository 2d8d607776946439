"""Freeze and includes: how a request changes before a build or a pull."""

import base64
import json

import pytest

from gateway.submit.submit import ContainerRequests
from swell.api.containers import ContainerRequest
from swell.api.inspect import ConfigInfo, ContainerInfo, Content, Inspection, ManifestInfo, RootFsInfo, RunInfo
from swell.api.lenient import decode
from swell.errors import BadRequest, Denied, SwellError, TooManyRequests, UpstreamSlow
from swell.oci.digest import Digest, digest_of
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import Build
from tests.unit.gateway.doubles import (
    CALLER,
    CountedBuilds,
    KnownInspections,
    MemoryGrants,
    MemoryQueue,
    MemoryRegistry,
)

REPOSITORY = "quay.io/acme/images"
FILE = base64.b64encode(b"FROM debian:12\nRUN true\n").decode()
ENTRYPOINT = ("/entry.sh", "--base")


def request(**fields: object) -> ContainerRequest:
    return decode(json.dumps(fields).encode(), ContainerRequest)


def inspection_of(
    *layers: bytes, entrypoint: tuple[str, ...] = (), media_type: str = "tar+gzip", oci: bool = True
) -> Inspection:
    """The inspection of an image with *layers* and *entrypoint*."""
    contents = tuple(
        Content(media_type=f"application/vnd.oci.image.layer.v1.{media_type}", digest=digest_of(layer), size=len(layer))
        for layer in layers
    )
    config = Content(media_type="application/vnd.oci.image.config.v1+json", digest=digest_of(b"config"), size=2)
    return Inspection(
        container=ContainerInfo(
            registry="docker.io",
            host_name="https://registry-1.docker.io",
            image_name="library/debian",
            reference="12",
            digest=digest_of(b"manifest"),
            config=ConfigInfo(
                config=RunInfo(entrypoint=entrypoint),
                rootfs=RootFsInfo("layers", tuple(digest_of(b"tar of " + layer) for layer in layers)),
            ),
            manifest=ManifestInfo(config=config, layers=contents),
            v1=False,
            v2=True,
            oci=oci,
        )
    )


@pytest.fixture(autouse=True)
def debian(registry: MemoryRegistry) -> None:
    """The base image of most requests here."""
    registry.push("docker.io/library/debian:12")


async def test_a_frozen_image_is_built_with_its_config(
    container_requests: ContainerRequests, inspections: KnownInspections, queue: MemoryQueue, grants: MemoryGrants
) -> None:
    """It is pulled from its own registry: the response has no token and no expiration."""
    inspections.results["docker.io/library/debian:12"] = inspection_of(b"base", entrypoint=ENTRYPOINT)

    answer = await container_requests.submit(
        request(
            containerImage="debian:12",
            containerConfig={"env": ['A=it\'s "$5"'], "cmd": ["run", "x y"]},
            freeze=True,
            buildRepository=REPOSITORY,
        ),
        CALLER,
    )

    (job,) = queue.jobs
    assert job.containerfile.splitlines()[1:] == [
        "FROM docker.io/library/debian:12",
        'ENV WAVE_ENTRY_CHAIN="/entry.sh --base"',
        r'''ENV A="it's \"\$5\""''',
        'CMD ["run", "x y"]',
    ]
    assert answer.target_image == answer.container_image == job.target_image
    assert (answer.container_token, answer.expiration, answer.freeze) == (None, None, True)
    assert grants.stored[answer.request_id].is_durable


async def test_only_frozen_images_ignore_triggers(
    container_requests: ContainerRequests, inspections: KnownInspections, queue: MemoryQueue
) -> None:
    """A Dockerfile runs the triggers (ONBUILD) of its base image; Apptainer does not know them."""
    inspections.results["docker.io/library/debian:12"] = inspection_of(b"base")
    definition = base64.b64encode(b"BootStrap: docker\nFrom: debian:12\n%post\n    true\n").decode()
    for fields in (
        {"containerImage": "debian:12"},
        {"containerImage": "debian:12", "format": "sif"},
        {"containerFile": definition, "format": "sif"},
        {"containerFile": FILE},
        {"containerFile": FILE, "format": "sif"},
    ):
        await container_requests.submit(request(freeze=True, buildRepository=REPOSITORY, **fields), CALLER)
    assert [job.ignores_triggers for job in queue.jobs] == [True, True, True, False, False]


async def test_a_frozen_config_goes_to_the_target_stage(
    container_requests: ContainerRequests, inspections: KnownInspections, queue: MemoryQueue
) -> None:
    """Its entry chain has the entrypoint of the base image of this stage."""
    inspections.results["docker.io/library/debian:12"] = inspection_of(b"base", entrypoint=ENTRYPOINT)
    file = base64.b64encode(b"FROM debian:12 AS first\nFROM scratch\n").decode()
    wanted = request(
        containerFile=file,
        target="first",
        containerConfig={"cmd": ["z"]},
        freeze=True,
        buildRepository=REPOSITORY,
    )
    await container_requests.submit(wanted, CALLER)
    assert queue.jobs[0].containerfile.splitlines()[2:] == [
        'ENV WAVE_ENTRY_CHAIN="/entry.sh --base"',
        'CMD ["z"]',
        "FROM scratch",
    ]


async def test_a_frozen_config_changes_the_id(
    container_requests: ContainerRequests, inspections: KnownInspections, queue: MemoryQueue
) -> None:
    """Another config makes another image."""
    inspections.results["docker.io/library/debian:12"] = inspection_of(b"base")
    for value in ("1", "2"):
        await container_requests.submit(
            request(
                containerImage="debian:12",
                containerConfig={"env": [f"A={value}"]},
                freeze=True,
                buildRepository=REPOSITORY,
            ),
            CALLER,
        )

    assert len({job.target_image for job in queue.jobs}) == 2


async def test_a_frozen_container_file_without_a_config_is_unchanged(
    container_requests: ContainerRequests, queue: MemoryQueue
) -> None:
    """Its base image is not inspected, so it may be private."""
    await container_requests.submit(request(containerFile=FILE, freeze=True, buildRepository=REPOSITORY), CALLER)

    assert queue.jobs[0].containerfile == "FROM debian:12\nRUN true\n"


async def test_freeze_inspects_the_base_image(container_requests: ContainerRequests) -> None:
    """Its entrypoint is needed, so a missing image is an error of the request."""
    with pytest.raises(BadRequest, match="container image .* does not exist or cannot be accessed"):
        await container_requests.submit(
            request(
                containerFile=FILE,
                containerConfig={"entrypoint": ["/x"]},
                freeze=True,
                buildRepository=REPOSITORY,
            ),
            CALLER,
        )


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (None, BadRequest),
        (Denied("no"), BadRequest),
        (UpstreamSlow("quay.io does not answer in time"), UpstreamSlow),
    ],
)
@pytest.mark.parametrize("freeze", [False, True])
async def test_an_included_image_that_cannot_be_read_is_named(
    container_requests: ContainerRequests,
    inspections: KnownInspections,
    registry: MemoryRegistry,
    trouble: SwellError | None,
    error: type[SwellError],
    freeze: bool,
) -> None:
    """As a `containerImage` is: a wrong name is 400, a registry in trouble keeps its status."""
    registry.push("docker.io/library/debian:12")
    inspections.trouble = trouble

    with pytest.raises(error, match="containerIncludes: container image quay.io/acme/tools:1 "):
        await container_requests.submit(
            request(
                containerImage="debian:12",
                containerIncludes=["quay.io/acme/tools:1"],
                freeze=freeze,
                buildRepository=REPOSITORY if freeze else None,
            ),
            CALLER,
        )


async def test_a_frozen_image_that_is_missing_is_an_error_of_the_request(
    container_requests: ContainerRequests,
) -> None:
    """With freeze, as without it, an unknown `containerImage` is 400."""
    with pytest.raises(BadRequest, match="container image docker.io/library/debian:13 does not exist"):
        await container_requests.submit(
            request(containerImage="debian:13", freeze=True, buildRepository=REPOSITORY), CALLER
        )


async def test_the_layers_of_a_frozen_config_are_stored_for_the_build(
    container_requests: ContainerRequests, inspections: KnownInspections, registry: MemoryRegistry, queue: MemoryQueue
) -> None:
    """The builder reads layers only from the object store."""
    inspections.results["docker.io/library/debian:12"] = inspection_of(b"base")
    inspections.results["quay.io/acme/tools:1"] = inspection_of(b"tools")

    await container_requests.submit(
        request(
            containerImage="debian:12",
            containerIncludes=["quay.io/acme/tools:1"],
            freeze=True,
            buildRepository=REPOSITORY,
        ),
        CALLER,
    )

    digest = digest_of(b"tools")
    assert [layer.location for layer in registry.layers] == [f"docker://quay.io/v2/acme/tools/blobs/{digest}"]
    assert queue.jobs[0].layers == (digest,)
    assert f"ADD layer-{digest.removeprefix('sha256:')}.tar.gz /" in queue.jobs[0].containerfile


async def test_the_layers_of_includes_are_added_in_order(
    container_requests: ContainerRequests, inspections: KnownInspections, registry: MemoryRegistry, grants: MemoryGrants
) -> None:
    """L10: a pull reads them from their own registries."""
    registry.push("docker.io/library/debian:12")
    inspections.results["quay.io/acme/a:1"] = inspection_of(b"a1", b"a2")
    inspections.results["quay.io/acme/b:1"] = inspection_of(b"b1")

    answer = await container_requests.submit(
        request(containerImage="debian:12", containerIncludes=["quay.io/acme/a:1", "quay.io/acme/b:1"]), CALLER
    )

    config = grants.stored[answer.request_id].container_config
    assert config
    assert [layer.gzip_digest for layer in config.layers or ()] == [digest_of(each) for each in (b"a1", b"a2", b"b1")]
    assert [layer.tar_digest for layer in config.layers or ()] == [
        digest_of(b"tar of " + each) for each in (b"a1", b"a2", b"b1")
    ]


@pytest.mark.parametrize(
    "image",
    [
        inspection_of(b"a", media_type="tar+lz4"),
        Inspection(),
        Inspection(
            container=ContainerInfo(
                registry="r",
                host_name="https://r",
                image_name="chart",
                reference="1",
                digest=Digest(digest_of(b"m")),
                config=ConfigInfo(),
                manifest=ManifestInfo(
                    config=Content(digest=digest_of(b"c"), size=2), layers=(Content(digest=digest_of(b"l"), size=1),)
                ),
                v1=False,
                v2=True,
                oci=True,
            )
        ),
    ],
)
async def test_unsupported_includes_are_refused(
    container_requests: ContainerRequests, inspections: KnownInspections, registry: MemoryRegistry, image: Inspection
) -> None:
    """An index without the platform, a Helm chart, a compression that the config cannot express."""
    registry.push("docker.io/library/debian:12")
    inspections.results["quay.io/acme/a:1"] = image

    with pytest.raises(BadRequest, match="quay.io/acme/a:1"):
        await container_requests.submit(
            request(containerImage="debian:12", containerIncludes="quay.io/acme/a:1"), CALLER
        )


@pytest.mark.parametrize("compression", ["tar+zstd", "tar"])
async def test_layers_of_other_images_keep_their_compression(
    container_requests: ContainerRequests,
    inspections: KnownInspections,
    registry: MemoryRegistry,
    grants: MemoryGrants,
    compression: str,
) -> None:
    """The layers are not recompressed, so the manifest must have their media types."""
    registry.push("docker.io/library/debian:12")
    inspections.results["docker.io/library/debian:12"] = inspection_of(b"base")
    inspections.results["quay.io/acme/a:1"] = inspection_of(b"a", media_type=compression)

    answer = await container_requests.submit(
        request(containerImage="debian:12", containerIncludes="quay.io/acme/a:1"), CALLER
    )

    config = grants.stored[answer.request_id].container_config
    assert config
    (layer,) = config.layers or ()
    assert layer.media_type == f"application/vnd.oci.image.layer.v1.{compression}"


@pytest.mark.parametrize(
    ("base", "more", "says"),
    [
        (inspection_of(b"base", oci=False), {}, "debian:12 is in Docker's format"),
        (inspection_of(b"base"), {"freeze": True, "buildRepository": REPOSITORY}, "with freeze"),
    ],
)
async def test_zstd_layers_need_an_oci_manifest(
    container_requests: ContainerRequests,
    inspections: KnownInspections,
    registry: MemoryRegistry,
    base: Inspection,
    more: dict[str, object],
    says: str,
) -> None:
    """Docker manifests and builds support only gzip; the request fails instead of the pull."""
    registry.push("docker.io/library/debian:12")
    inspections.results["docker.io/library/debian:12"] = base
    inspections.results["quay.io/acme/a:1"] = inspection_of(b"a", media_type="tar+zstd")

    with pytest.raises(BadRequest, match=says):
        await container_requests.submit(
            request(containerImage="debian:12", containerIncludes="quay.io/acme/a:1", **more), CALLER
        )


async def test_packages_become_a_build_with_their_names(
    container_requests: ContainerRequests, queue: MemoryQueue
) -> None:
    """People recognise the image by its tag."""
    answer = await container_requests.submit(
        request(packages={"type": "CONDA", "entries": ["samtools=1.17", "bwa"], "channels": ["conda-forge"]}),
        CALLER,
    )

    assert answer.container_image.startswith("registry.example.com/team/builds:samtools-1.17_bwa--")
    assert queue.jobs[0].environment == "channels:\n- conda-forge\ndependencies:\n- samtools=1.17\n- bwa\n"
    assert "micromamba" in queue.jobs[0].containerfile


async def test_a_running_build_is_shared_beyond_the_limit(
    container_requests: ContainerRequests, limits: CountedBuilds, builds: MemoryBuilds
) -> None:
    """A hundred tasks of one workflow request the same build at once, and each must get it."""
    first = await container_requests.submit(request(containerFile=FILE), CALLER)
    assert first.build_id
    started = await builds.get(first.build_id)
    assert started
    limits.most, seen = 0, iter([None, started])

    async def latest(_: str) -> Build | None:
        return next(seen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builds, "latest", latest)
        again = await container_requests.submit(request(containerFile=FILE), CALLER)

    assert (again.build_id, again.cached) == (first.build_id, False)


async def test_only_new_builds_count(
    container_requests: ContainerRequests, limits: CountedBuilds, registry: MemoryRegistry
) -> None:
    """Repeated requests, dry runs and plain images are free; the next new build is not."""
    registry.push("docker.io/library/debian:12")
    for fields in (
        {"containerFile": FILE},
        {"containerFile": FILE},
        {"containerFile": FILE, "dryRun": True},
        {"containerImage": "debian:12"},
    ):
        await container_requests.submit(request(**fields), CALLER)
    limits.most = 1

    assert limits.taken == 1
    with pytest.raises(TooManyRequests, match=r"203\.0\.113\.9"):
        await container_requests.submit(request(containerFile=base64.b64encode(b"FROM other\n").decode()), CALLER)


async def test_a_dockerfile_has_another_name_as_a_sif_file(
    container_requests: ContainerRequests, queue: MemoryQueue
) -> None:
    """A tag names one artifact: otherwise the image would be returned instead of the SIF file."""
    fields = {"containerFile": FILE, "freeze": True, "buildRepository": REPOSITORY}

    image = await container_requests.submit(request(**fields), CALLER)
    sif = await container_requests.submit(request(**fields, format="sif"), CALLER)

    assert sif.target_image.startswith("oras://")
    assert sif.target_image.removeprefix("oras://") != image.target_image
    assert len(queue.jobs) == 2
