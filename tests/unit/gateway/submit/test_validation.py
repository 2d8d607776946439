"""The rules of requests and their records. The golden examples come from the API sheet."""

import base64
import json
import zlib
from datetime import UTC, datetime

import msgspec
import pytest

from gateway.domain.repositories import Repositories
from gateway.submit.answer import fusion_version, parse_timestamp, token_description
from gateway.submit.submit import ContainerRequests
from gateway.submit.validation import validate
from swell.api.containers import (
    BuildCompression,
    BuildOptions,
    CompressionMode,
    ContainerConfig,
    ContainerLayer,
    ContainerRequest,
)
from swell.api.lenient import decode
from swell.errors import BadRequest, DigestInvalid, SwellError, TooLarge
from tests.unit.gateway.doubles import CALLER, NOON, MemoryGrants, MemoryQueue, MemoryRegistry

ENDLESS = base64.b64encode(b"dependencies: [a]\na: 1" + b":1" * 10_000).decode()
"""A number to the base of 60, as YAML 1.1 has them."""
FILE = base64.b64encode(b"FROM alpine:3.20\nRUN apk add jq\n").decode()
MIRROR = {"mirror": True, "containerImage": "a", "buildRepository": "r.io", "towerAccessToken": "key"}


def request(**fields: object) -> ContainerRequest:
    return decode(json.dumps(fields).encode(), ContainerRequest)


async def test_the_first_version_returns_a_build_id_only_for_a_new_build(
    container_requests: ContainerRequests, registry: MemoryRegistry, queue: MemoryQueue
) -> None:
    """E5: clients of this version wait for the build of a build id."""
    first = await container_requests.submit(request(containerFile=FILE), CALLER, legacy=True)
    registry.push("registry.example.com/team/builds:c44968632f89dd6c")
    queue.jobs.clear()

    document = msgspec.to_builtins(first)

    assert set(document) == {"requestId", "containerToken", "targetImage", "expiration", "containerImage", "buildId"}
    assert first.build_id == "bd-c44968632f89dd6c_1"


async def test_the_first_version_answers_a_plain_image_with_five_members(
    container_requests: ContainerRequests, registry: MemoryRegistry
) -> None:
    """E2: clients of this version expect exactly these members."""
    registry.push("docker.io/library/debian:12")

    document = msgspec.to_builtins(
        await container_requests.submit(request(containerImage="debian:12"), CALLER, legacy=True)
    )

    assert set(document) == {"requestId", "containerToken", "targetImage", "expiration", "containerImage"}


async def test_a_dry_run_starts_nothing(
    container_requests: ContainerRequests, queue: MemoryQueue, grants: MemoryGrants
) -> None:
    """E8: it returns the name, the container file, and whether the image exists."""
    answer = await container_requests.submit(request(containerFile=FILE, dryRun=True), CALLER)

    assert answer.container_image == "registry.example.com/team/builds:c44968632f89dd6c"
    assert (answer.build_id, answer.cached, answer.succeeded) == ("c44968632f89dd6c_0", False, True)
    assert answer.container_file == "FROM alpine:3.20\nRUN apk add jq\n"
    assert queue.jobs == []
    assert grants.stored[answer.request_id].is_dry


async def test_a_dry_run_reports_an_existing_image(
    container_requests: ContainerRequests, registry: MemoryRegistry
) -> None:
    """`cached` is true if the registry has the image."""
    registry.push("registry.example.com/team/builds:c44968632f89dd6c")

    assert (await container_requests.submit(request(containerFile=FILE, dryRun=True), CALLER)).cached is True


async def test_a_build_is_pushed_to_the_clients_repository(
    container_requests: ContainerRequests, queue: MemoryQueue
) -> None:
    """The id depends on the repository: the same container file there is another build."""
    answer = await container_requests.submit(request(containerFile=FILE, buildRepository="quay.io/acme/images"), CALLER)

    assert answer.container_image.startswith("quay.io/acme/images:")
    assert queue.jobs[0].target_image == answer.container_image
    assert "c44968632f89dd6c" not in answer.container_image


@pytest.mark.parametrize(
    ("build_repository", "cache_repository", "used"),
    [
        ("quay.io/acme/images", "quay.io/acme/cache", "quay.io/acme/cache"),
        ("quay.io/acme/images", None, None),
        ("quay.io/acme/images", "registry.example.com/team/cache", None),
        ("quay.io/acme/images", "registry.example.com/team/builds/x", None),
        (None, "quay.io/acme/cache", "registry.example.com/team/cache"),
        (None, None, "registry.example.com/team/cache"),
    ],
)
def test_a_cache_serves_only_builds_of_its_owner(
    build_repository: str | None, cache_repository: str | None, used: str | None
) -> None:
    """A shared image must not use a client's cache, and a client's image must not use the shared cache."""
    repositories = Repositories(build="registry.example.com/team/builds", cache="registry.example.com/team/cache")
    build_request = validate(
        request(containerFile=FILE, buildRepository=build_repository, cacheRepository=cache_repository), repositories
    )
    assert build_request.cache_repository == used


async def test_the_cache_and_the_compression_reach_the_builder(
    container_requests: ContainerRequests, queue: MemoryQueue
) -> None:
    """Also if another gateway publishes the job after a crash."""
    repositories = {"buildRepository": "quay.io/acme/images", "cacheRepository": "quay.io/acme/cache"}
    compression = {"mode": "zstd", "level": 9, "force": True}

    await container_requests.submit(request(containerFile=FILE, **repositories, buildCompression=compression), CALLER)

    assert queue.jobs[0].cache_repository == "quay.io/acme/cache"
    assert queue.jobs[0].compression == BuildCompression(mode=CompressionMode.ZSTD, level=9, force=True)


async def test_build_options_reach_the_builder(container_requests: ContainerRequests, queue: MemoryQueue) -> None:
    """They also change the id of the build."""
    chosen = {"buildArgs": {"V": "1"}, "target": "one", "labels": {"a": "b"}}

    plain = await container_requests.submit(request(containerFile=FILE), CALLER)
    other = await container_requests.submit(request(containerFile=FILE, **chosen), CALLER)

    assert queue.jobs[-1].options == BuildOptions(build_args={"V": "1"}, target="one", labels={"a": "b"})
    assert plain.build_id != other.build_id


async def test_records_have_no_credentials(
    container_requests: ContainerRequests, registry: MemoryRegistry, grants: MemoryGrants
) -> None:
    """E13, both versions: records have no keys, e-mail addresses or network addresses."""
    registry.push("quay.io/acme/tool:2.1")
    answer = await container_requests.submit(
        request(
            containerImage="quay.io/acme/tool:2.1",
            containerConfig={"env": ["STAGE=qa"]},
            timestamp="2026-03-01T10:30:00+01:00",
            towerRefreshToken="secret",
            fingerprint="f",
        ),
        CALLER,
    )
    token = answer.request_id
    wave = f"wave.example.org/wt/{token}/acme/tool:2.1"
    record = grants.records[token]

    assert json.loads(msgspec.json.encode(record)) == {
        "id": token,
        "containerImage": "quay.io/acme/tool:2.1",
        "containerConfig": {"env": ["STAGE=qa"]},
        "platform": "linux/amd64",
        "towerEndpoint": "https://api.cloud.seqera.io",
        "fingerprint": "f",
        "timestamp": "2026-03-01T09:30:00Z",
        "zoneId": "+01:00",
        "sourceImage": "quay.io/acme/tool:2.1",
        "waveImage": wave,
        "expiration": "2026-11-25T00:00:00Z",
        "mirror": False,
    }
    document = json.loads(msgspec.json.encode(token_description(record)))
    assert document["build"] == {}
    assert (document["source"], document["wave"]) == ({"image": "quay.io/acme/tool:2.1"}, {"image": wave})
    assert document["request"]["zoneId"] == "+01:00"


@pytest.mark.parametrize(
    ("text", "instant", "zone"),
    [
        ("2026-11-23T12:59:39.823251298Z", datetime(2026, 11, 23, 12, 59, 39, 823251, UTC), "Z"),
        ("2026-03-01T10:30:00+05:30", datetime(2026, 3, 1, 5, 0, tzinfo=UTC), "+05:30"),
        ("2026-03-01T10:30Z", datetime(2026, 3, 1, 10, 30, tzinfo=UTC), "Z"),
        ("2026-03-01T10:30:00", NOON, "Z"),
        ("2026-03-01T10:30:00+01:02:03", datetime(2026, 3, 1, 9, 27, 57, tzinfo=UTC), "+01:02:03"),
        ("0001-01-01T00:00:00+10:00", NOON, "Z"),
        ("9999-12-31T23:59:59-10:00", NOON, "Z"),
        ("yesterday", NOON, "Z"),
        (None, NOON, "Z"),
    ],
)
def test_timestamps_of_all_clients_are_parsed(text: str | None, instant: datetime, zone: str) -> None:
    """B8: an invalid timestamp, or one without a zone, becomes now and is no error."""
    assert parse_timestamp(text, NOON) == (instant, zone)


@pytest.mark.parametrize(
    ("location", "version"),
    [
        ("https://fusionfs.seqera.io/pkg/2/5/1/fusion-amd64.tar.gz", "2.5.1"),
        ("https://fusionfs.seqera.io/releases/v2.6-amd64.json", "2.6"),
        ("https://fusionfs.seqera.io/releases/v2.6.snap-arm64.json", "2.6.snap"),
        ("https://fusionfs.seqera.io/other.tar.gz", None),
        ("https://mirror.example.org/pkg/2/5/fusion-amd64.tar.gz", None),
    ],
)
def test_the_version_of_fusion_comes_from_its_url(location: str, version: str | None) -> None:
    """Records show it."""
    config = ContainerConfig(layers=(ContainerLayer("https://a.test/other"), ContainerLayer(location)))

    assert fusion_version(config) == version


async def test_old_host_names_of_the_platform_are_replaced(
    container_requests: ContainerRequests, registry: MemoryRegistry, grants: MemoryGrants
) -> None:
    """Records show the current host name."""
    registry.push("docker.io/library/a:latest")

    answer = await container_requests.submit(request(containerImage="a", towerEndpoint="https://api.tower.nf"), CALLER)

    assert grants.records[answer.request_id].tower_endpoint == "https://api.cloud.seqera.io"


WEB, BLOB = "https://a.test/l.tar.gz", f"docker://quay.io/v2/a/b/blobs/sha256:{64 * '0'}"
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
LINKED = {"location": WEB, "gzipDigest": f"sha256:{64 * '0'}", "gzipSize": 1, "tarDigest": f"sha256:{64 * '1'}"}


def adding(*layers: dict[str, object], **layer: object) -> dict[str, object]:
    """A request for an image with *layers*, or one *layer*."""
    return {"containerImage": "a", "containerConfig": {"layers": layers or [layer]}}


def deflated(content: bytes) -> str:
    """The location of *content*, compressed with zlib."""
    return "gzip:" + base64.b64encode(zlib.compress(content)).decode()


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"condaFile": "YQ=="}, BadRequest, "condaFile"),
        ({"containerFile": FILE, "packages": {"type": "CONDA"}}, BadRequest, "exclude each other"),
        ({"containerFile": FILE, "freeze": True}, BadRequest, "freeze needs a buildRepository of your own$"),
        ({"containerImage": "a", "freeze": True}, BadRequest, "freeze needs a buildRepository of your own$"),
        (
            {"containerFile": FILE, "freeze": True, "buildRepository": "registry.example.com/team/builds"},
            BadRequest,
            "freeze needs a buildRepository of your own$",
        ),
        ({"containerFile": FILE, "format": "sif"}, BadRequest, "sif needs freeze"),
        ({"containerFile": FILE, "buildRepository": "docker://quay.io/a/b"}, BadRequest, "buildRepository.*scheme"),
        ({"containerFile": FILE, "buildRepository": "quay.io"}, BadRequest, "buildRepository.*path"),
        ({"containerFile": FILE, "buildRepository": "quay.io/a/b:c"}, BadRequest, "buildRepository.*tag"),
        ({"containerFile": FILE, "buildRepository": "quay.io/A B"}, BadRequest, "buildRepository.*quay.io/A B"),
        ({"containerFile": FILE, "buildCompression": {"level": 10}}, BadRequest, "level of gzip must be 0 to 9"),
        ({"containerFile": FILE, "buildCompression": {"mode": "zstd", "level": -1}}, BadRequest, "zstd.*0 to 22"),
        ({"containerFile": FILE, "buildArgs": {"a b": "1"}}, BadRequest, "buildArgs has the entry 'a b'"),
        ({"containerFile": FILE, "buildArgs": {"TARGETARCH": "x"}}, BadRequest, "'TARGETARCH', which follows from"),
        ({"containerFile": FILE, "buildArgs": {"TARGETSTAGE": "x"}}, BadRequest, "'TARGETSTAGE', which follows from"),
        ({"containerFile": FILE, "buildArgs": {"a": "x" * 40_000}}, TooLarge, "buildArgs has more than"),
        ({"containerFile": FILE, "labels": {f"l{n}": "" for n in range(101)}}, TooLarge, "labels has more than 100"),
        ({"containerFile": FILE, "target": "a/b"}, BadRequest, "target 'a/b'"),
        ({"containerImage": "a", "labels": {"a": "b"}}, BadRequest, "need a containerFile"),
        ({"containerFile": FILE, "cacheRepository": "s3://b/k"}, BadRequest, "cacheRepository.*scheme"),
        ({"containerImage": "a", "containerPlatform": "linux/amd64,linux/arm64"}, BadRequest, "several platforms"),
        ({"containerFile": FILE, "containerPlatform": "linux/amd64,linux/arm/v7"}, BadRequest, "several platforms"),
        ({"containerImage": "a", "containerPlatform": "linux/ppc64le"}, BadRequest, "ppc64le"),
        ({"containerImage": "a", "containerIncludes": ["b"] * 11}, BadRequest, "containerIncludes"),
        (adding(location=WEB), BadRequest, r"layers\[0\].*needs gzipDigest"),
        (adding(**LINKED | {"location": WEB + "?" + "x" * 9000}), TooLarge, r"layers\[0\].location"),
        (adding(location="s3://b/k"), BadRequest, r"layers\[0\].location must begin with"),
        (adding(**LINKED | {"gzipDigest": "A" * 64}), DigestInvalid, r"layers\[0\].gzipDigest"),
        (adding(**LINKED | {"tarDigest": "md5:0"}), DigestInvalid, r"layers\[0\].tarDigest"),
        (adding(**LINKED | {"gzipSize": -1}), BadRequest, r"layers\[0\].gzipSize"),
        (adding(**LINKED | {"gzipSize": 2**62}), BadRequest, r"layers\[0\].gzipSize"),
        (adding(**LINKED | {"mediaType": ZSTD}), BadRequest, r"layers\[0\].mediaType"),
        (adding(location="data:AAAA", mediaType=ZSTD), BadRequest, r"layers\[0\].mediaType"),
        (adding(location="gzip:!"), BadRequest, r"layers\[0\].location is not valid base64"),
        (adding(location="gzip:AAAA"), BadRequest, r"layers\[0\].location .* not a zlib stream"),
        (
            adding(location=deflated(b"x" * 9)[:-4]),
            BadRequest,
            r"layers\[0\].location must contain exactly one complete zlib stream",
        ),
        (adding(location=deflated(bytes(32 << 20))), TooLarge, r"layers\[0\].location inflates"),
        (adding(location=deflated(b"x")), BadRequest, "not a gzipped tar"),
        (adding(**LINKED | {"location": BLOB, "mediaType": "text/html"}), BadRequest, r"layers\[0\].mediaType"),
        (adding(*[LINKED] * 101), BadRequest, "at most 100"),
        (adding(location="data:AAAA"), BadRequest, r"layers\[0\]: .*gzipped tar"),
        (adding(**LINKED | {"location": "docker://a/v2/b/blobs/c"}), DigestInvalid, r"layers\[0\].location: "),
        ({"containerImage": "a", "containerIncludes": ["b c"]}, BadRequest, "containerIncludes: 'b c'"),
        ({"containerImage": "a", "containerConfig": {"cmd": ["x\0y"]}}, BadRequest, "containerConfig.*NUL"),
        ({"containerImage": "a", "containerConfig": {"env": ["A=\0"]}}, BadRequest, "containerConfig.*NUL"),
        ({"containerImage": "a", "containerConfig": {"cmd": ["x" * 100] * 20_000}}, TooLarge, "containerConfig"),
        ({"containerImage": "a", "containerConfig": {"env": ["A=" + "x" * 2**20]}}, TooLarge, "containerConfig"),
        ({"containerFile": FILE, "buildContext": {"location": "data:!"}}, BadRequest, "buildContext.location"),
        ({"packages": {"type": "CONDA", "environment": "A" * 2**21}}, TooLarge, "packages.environment"),
        ({"packages": {"type": "CONDA", "environment": ENDLESS}}, BadRequest, "packages.environment.*too long"),
        ({"mirror": True}, BadRequest, "containerImage"),
        ({"mirror": True, "containerImage": "a"}, BadRequest, "towerAccessToken"),
        (MIRROR | {"freeze": True}, BadRequest, "combined with freeze"),
        (MIRROR | {"containerConfig": {"cmd": ["x"]}}, BadRequest, "combined with containerConfig"),
        (MIRROR | {"containerIncludes": ["b"]}, BadRequest, "combined with containerIncludes"),
        (MIRROR | {"containerFile": FILE}, BadRequest, "combined with containerFile"),
        (MIRROR | {"packages": {"type": "CONDA", "entries": ["a"]}}, BadRequest, "combined with packages"),
        (MIRROR | {"buildRepository": ""}, BadRequest, "needs a buildRepository"),
        (MIRROR | {"buildRepository": "https://r.io"}, BadRequest, "buildRepository: .*scheme"),
        (MIRROR | {"buildRepository": "oras://r.io/a"}, BadRequest, "buildRepository: .*scheme"),
        (MIRROR | {"buildRepository": "r.io/a:1"}, BadRequest, "buildRepository: .*tag"),
        (MIRROR | {"buildRepository": "r.io/A"}, BadRequest, "buildRepository: "),
        (MIRROR | {"buildRepository": "docker.io/a"}, BadRequest, "registry of its source"),
        (MIRROR | {"buildRepository": "registry.example.com/team/builds"}, BadRequest, "belongs to this server"),
        ({"containerFile": "A" * 200_000}, TooLarge, "containerFile"),
    ],
)
async def test_invalid_combinations_are_refused(
    container_requests: ContainerRequests,
    registry: MemoryRegistry,
    fields: dict[str, object],
    error: type[SwellError],
    says: str,
) -> None:
    """E22 and the table of rules; the message names the member to change."""
    registry.push("docker.io/library/a:latest")

    with pytest.raises(error, match=says):
        await container_requests.submit(request(**fields), CALLER)


@pytest.mark.parametrize(
    "location",
    [
        "https://",
        "http:///layer.tar.gz",
        "http://[::1/layer.tar.gz",
        "http://files.example.org:99999/layer.tar.gz",
        "http://127.0.0.1\\@files.example.org/layer.tar.gz",
        "http://files.exam ple.org/layer.tar.gz",
        "http://files.exam\nple.org/layer.tar.gz",
    ],
)
async def test_an_invalid_layer_location_is_refused_without_a_download(
    container_requests: ContainerRequests, registry: MemoryRegistry, location: str
) -> None:
    """It is an error of the client, not of an upstream server."""
    registry.push("docker.io/library/a:latest")

    with pytest.raises(BadRequest, match=r"layers\[0\].location: .* is no http\(s\) address"):
        await container_requests.submit(request(**adding(**LINKED | {"location": location})), CALLER)


@pytest.mark.parametrize("encoded", ["QR==", "AAAA====", "QQ", "QQ==\n", "Q Q="])
@pytest.mark.parametrize("member", ["containerFile", "packages.environment"])
async def test_only_canonical_base64_is_accepted(
    container_requests: ContainerRequests, member: str, encoded: str
) -> None:
    """Decoders disagree about other encodings of the same bytes."""
    packages = {"packages": {"type": "CONDA", "environment": encoded}}

    with pytest.raises(BadRequest, match=f"{member} is not valid base64"):
        await container_requests.submit(request(**({member: encoded} if "." not in member else packages)), CALLER)


async def test_errors_of_the_first_version_name_conda_file(container_requests: ContainerRequests) -> None:
    """Clients that send `condaFile` do not know `packages`."""
    broken = base64.b64encode(b"a: [").decode()

    with pytest.raises(BadRequest, match="^condaFile: it is not YAML"):
        await container_requests.submit(request(containerFile=FILE, condaFile=broken), CALLER, legacy=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"packages": {"type": "CONDA"}},
        {"nameStrategy": "none", "containerFile": FILE},
        {"mirror": True, "containerImage": "a"},
    ],
)
async def test_the_first_version_rejects_newer_members(
    container_requests: ContainerRequests, fields: dict[str, object]
) -> None:
    """E22, last line."""
    with pytest.raises(BadRequest, match="/v1alpha2/container"):
        await container_requests.submit(request(**fields), CALLER, legacy=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"containerConfig": {"entrypoint": None, "cmd": None, "env": None, "workingDir": None, "layers": None}},
        {"containerConfig": {"layers": [], "cmd": ["x"]}},
        {"containerConfig": {"layers": None, "env": ["A="]}},
        {"towerAccessToken": "", "towerEndpoint": "https://unpaired.example.org"},
        {"scanLevels": ["LOW"], "scanMode": None},
        {"scanMode": "none"},
        {"containerPlatform": "x86_64"},
    ],
)
async def test_requests_of_real_clients_are_accepted(
    container_requests: ContainerRequests, registry: MemoryRegistry, fields: dict[str, object]
) -> None:
    """B3 to B5, B21, B22, T15, T16."""
    registry.push("docker.io/library/a:latest")

    assert (await container_requests.submit(request(containerImage="a", **fields), CALLER)).succeeded
