"""Any request is answered, or refused as an error of the client."""

import base64
import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.images.image_access import ImageAccess
from gateway.domain.repositories import Repositories
from gateway.domain.server_config import ServerConfig
from gateway.inspect import registry_of
from gateway.submit.answer import parse_timestamp, token_description
from gateway.submit.builds.dispatch import Dispatcher
from gateway.submit.builds.start import BuildStarter
from gateway.submit.prepare import RequestPreparer
from gateway.submit.submit import ContainerRequests
from swell.api.containers import ContainerRequest
from swell.api.inspect import CredentialsRequest, InspectRequest, LegacyCredentialsRequest
from swell.api.lenient import decode
from swell.errors import BadRequest, NotSupported, SwellError
from swell.store.builds.memory import MemoryBuilds
from tests.unit.gateway.doubles import (
    CALLER,
    NOON,
    CountedBuilds,
    KnownCapabilities,
    KnownInspections,
    MemoryBlobs,
    MemoryGrants,
    MemoryLeases,
    MemoryQueue,
    MemoryRegistry,
    PublicRegistry,
    StubSolver,
    mirror_starter,
    scan_requests,
)
from tests.unit.gateway.submit.test_prepare import inspection_of

IMAGE = "docker.io/library/a:latest"
DIGEST = f"sha256:{64 * '0'}"

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
texts = st.text(st.characters(), max_size=40)
encoded = texts.map(lambda text: base64.b64encode(text.encode("utf-8", "replace")).decode()) | texts
names = st.sampled_from(["a", IMAGE, f"a@{DIGEST}", "quay.io/x/y:1", "A", "a:b:c", "http://a", "localhost:5000/a", ""])
layers = st.fixed_dictionaries(
    {"location": st.sampled_from(["data:", "https://a.test/x", f"docker://q.io/v2/a/b/blobs/{DIGEST}", "s3://b"])},
    optional={
        "gzipDigest": st.sampled_from([DIGEST, "sha256:", "md5:1", ""]),
        "gzipSize": st.integers(-(2**70), 2**70),
        "tarDigest": st.sampled_from([DIGEST, "", "x"]),
        "mediaType": st.sampled_from(["application/vnd.oci.image.layer.v1.tar+zstd", "x", ""]),
        "skipHashing": st.none() | st.booleans(),
    },
)
configs = st.fixed_dictionaries(
    {},
    optional={
        "entrypoint": st.lists(texts, max_size=3),
        "cmd": st.lists(texts, max_size=3),
        "env": st.lists(texts | st.builds("{}={}".format, texts, texts), max_size=3),
        "workingDir": texts,
        "layers": st.lists(layers, max_size=2),
    },
)
packages = st.fixed_dictionaries(
    {"type": st.sampled_from(["CONDA", "CRAN"])},
    optional={
        "entries": st.lists(texts | st.sampled_from(["pip:x", "pip::x", "https://a/b", "a=1", "b::c"]), max_size=3),
        "environment": encoded,
        "channels": st.lists(texts, max_size=3),
        "condaOpts": st.fixed_dictionaries({}, optional={"mambaImage": names | texts, "commands": st.lists(texts)}),
        "cranOpts": st.fixed_dictionaries({}, optional={"rImage": names | texts, "basePackages": texts}),
    },
)
likely: dict[str, st.SearchStrategy[Any]] = {
    "containerImage": names,
    "containerFile": encoded,
    "condaFile": encoded,
    "packages": packages,
    "containerConfig": configs,
    "containerPlatform": st.sampled_from(["arm64", "linux/amd64,linux/arm64", ",", "/", "a/b/c/d", "linux/arm/9"]),
    "containerIncludes": st.lists(names, max_size=3),
    "buildContext": layers,
    "buildRepository": names,
    "cacheRepository": names,
    "format": st.sampled_from(["sif", "docker"]),
    "freeze": st.booleans(),
    "mirror": st.booleans(),
    "dryRun": st.booleans(),
    "nameStrategy": st.sampled_from(["none", "tagPrefix", "imageSuffix"]),
    "timestamp": st.datetimes().map(str) | texts,
}
members = {field.encode_name for field in msgspec.structs.fields(ContainerRequest)}
shapeless = st.fixed_dictionaries({}, optional={name: likely.get(name, texts) | anything for name in members})
sources = st.one_of(
    st.just({"containerImage": "a"}),
    st.text(max_size=40).map(lambda text: {"containerFile": base64.b64encode(f"FROM a\n{text}".encode()).decode()}),
    packages.map(lambda each: {"packages": each}),
)
extras = st.fixed_dictionaries(
    {},
    optional={
        "containerConfig": configs,
        "containerIncludes": st.just(["a"]),
        "containerPlatform": st.sampled_from(["arm64", "x86_64", "linux/amd64,linux/arm64"]),
        "dryRun": st.booleans(),
        "fingerprint": texts,
        "freeze": st.booleans(),
        "buildRepository": st.just("quay.io/x/y"),
        "nameStrategy": likely["nameStrategy"],
        "timestamp": likely["timestamp"],
        "workflowId": texts,
    },
)
requests = shapeless | st.builds(dict.__or__, sources, extras)


def make_provisioning() -> tuple[ContainerRequests, MemoryGrants]:
    grants, registry, inspections = MemoryGrants(), MemoryRegistry(), KnownInspections()
    registry.push(IMAGE)
    inspections.results[IMAGE] = inspection_of(b"a")
    server_config = ServerConfig(
        server_url="https://wave.example.org",
        repositories=Repositories(build="registry.example.com/team/builds", public="public.example.com"),
        token_ttl=timedelta(hours=36),
    )
    builds = MemoryBuilds()
    access = ImageAccess(server_config.repositories, PublicRegistry(), builds)
    capabilities = KnownCapabilities()
    starter = BuildStarter(
        server_config.repositories,
        registry,
        builds,
        CountedBuilds(),
        StubSolver(),
        MemoryLeases(),
        capabilities,
        access,
    )
    dispatcher = Dispatcher(builds, MemoryQueue(), share=8)
    mirrors = mirror_starter(server_config, registry, builds, starter, access, dispatcher)
    dependencies = (
        builds,
        MemoryBlobs(),
        access,
        mirrors,
        RequestPreparer(inspections),
        starter,
        dispatcher,
        scan_requests(registry, builds),
    )
    return ContainerRequests(server_config, grants, registry, *dependencies, now=lambda: NOON), grants


@given(requests, st.booleans())
async def test_any_request_is_answered_or_refused_as_an_error_of_the_client(
    fields: dict[str, Any], legacy: bool
) -> None:
    """Its record can be encoded in both versions of the API."""
    container_requests, grants = make_provisioning()
    try:
        request = decode(json.dumps(fields).encode("utf-8", "surrogatepass"), ContainerRequest)
        answer = await container_requests.submit(request, CALLER, legacy=legacy)
    except SwellError as error:
        assert error.status < 500 or isinstance(error, NotSupported)
        assert str(error)
        return
    record = grants.records[answer.request_id]
    for value in (answer, record, token_description(record), grants.stored[answer.request_id]):
        assert msgspec.json.encode(value)


@given(st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")))
def test_any_body_is_parsed_or_refused(body: bytes) -> None:
    """Arbitrary bytes never cause an internal error."""
    for kind in (ContainerRequest, InspectRequest, CredentialsRequest, LegacyCredentialsRequest):
        try:
            decode(body, kind)
        except BadRequest as error:
            assert str(error)


@pytest.mark.parametrize(
    "body",
    [
        b'{"containerImage":"a","containerImage":"b"}',
        b'{"towerWorkspaceId":' + b"9" * 5000 + b"}",
        b'{"towerWorkspaceId":1e309}',
        b'{"towerWorkspaceId":-1.5e18}',
        b'{"containerImage":"\\udfff\\ud800"}',
        b'{"a":' * 20_000,
        b"[" * 20_000 + b"]" * 20_000,
        b'{"containerConfig":{"layers":' + b"[" * 900 + b"]" * 900 + b"}}",
        b'{"containerImage":"a"}{"containerImage":"b"}',
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda body: str(body[:24]),
)
def test_ambiguous_json_is_parsed_or_refused(body: bytes) -> None:
    """Duplicate keys, long numbers, unpaired surrogates, deep nesting, two documents in one."""
    try:
        assert decode(body, ContainerRequest).container_image in {None, "b"}
    except BadRequest as error:
        assert str(error)


@given(texts | st.datetimes(timezones=st.timezones() | st.none()).map(lambda when: when.isoformat()))
def test_any_timestamp_is_parsed_or_ignored(text: str) -> None:
    """A client's clock is no reason to refuse a request."""
    instant, zone = parse_timestamp(text, NOON)

    assert instant.utcoffset() == timedelta(0)
    assert zone == "Z" or zone[0] in "+-"
    assert msgspec.json.encode(instant)


@given(texts | names)
def test_any_registry_is_parsed_or_refused(text: str) -> None:
    """Arbitrary text never causes an internal error."""
    try:
        assert "/" not in registry_of(text)
    except BadRequest as error:
        assert str(error)
