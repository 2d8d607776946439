"""Inspection: an image in the messages of Wave's API."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import structs

from registry_proxy.inspect import Inspector, config_info, container_info, index_info, referrers_of
from swell.errors import BadRequest, ImageUnsupported, ManifestInvalid, ManifestUnknown
from swell.oci.descriptor import Descriptor
from swell.oci.digest import digest_of
from swell.oci.document import Document, detect
from swell.oci.image import Image
from swell.oci.media_types import DOCKER_LIST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from swell.oci.platform import parse_platform
from swell.oci.reference import Reference, parse_reference
from swell.testing.images import make_image
from swell.testing.registry import FakeRegistry

TOOL = "quay.io/acme/tool:2.1"
ARM = parse_platform("arm64")


class Registry(FakeRegistry):
    def host_name(self, registry: str) -> str:
        return f"https://{registry}"


class OneDocument(Registry):
    """Has *document* under every name, and no blobs."""

    def __init__(self, document: Document) -> None:
        super().__init__()
        self._document = document

    async def fetch_manifest(self, reference: Reference) -> Document:
        return self._document


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def inspector(registry: Registry) -> Inspector:
    return Inspector(registry)


def decoded(value: object) -> Any:
    """What a client reads."""
    return json.loads(msgspec.json.encode(value))


def config_of(**fields: object) -> Any:
    return decoded(config_info(Document(OCI_CONFIG, json.dumps(fields).encode())))


@pytest.mark.parametrize("docker", [True, False])
async def test_an_image_is_described_as_a_container(registry: Registry, inspector: Inspector, docker: bool) -> None:
    """Every field that clients read, with Wave's spelling; layer URLs begin with the host name."""
    pushed = registry.push(TOOL, layers=2, docker=docker)
    assert pushed.config

    answer = decoded(await inspector.inspect(parse_reference(TOOL), None))

    container = answer.pop("container")
    assert answer == {}
    assert container.pop("manifest") == pushed.manifest.fields
    assert container == {
        "registry": "quay.io",
        "hostName": "https://quay.io",
        "imageName": "acme/tool",
        "reference": "2.1",
        "digest": pushed.digest,
        "config": {
            "architecture": "amd64",
            "config": {"env": ["PATH=/usr/bin:/bin"], "cmd": ["hello"]},
            "rootfs": pushed.config.fields["rootfs"],
        },
        "v1": False,
        "v2": True,
        "oci": not docker,
    }


async def test_referrers_are_listed_on_request(registry: Registry, inspector: Inspector) -> None:
    """Those of the manifest that is described: of an image without any, an empty list."""
    pushed = registry.push(TOOL)
    signature = registry.refer(pushed, "signature")
    other = registry.push("quay.io/acme/tool:3")

    answer = await inspector.inspect(parse_reference(TOOL), None, referrers=True)
    alone = await inspector.inspect(parse_reference(str(other.reference)), None, referrers=True)

    assert [each.digest for each in answer.referrers or ()] == [signature.digest]
    assert (answer.container and answer.container.digest, alone.referrers) == (pushed.digest, ())


@pytest.mark.parametrize("entry", [{"digest": "x"}, {"size": 1}, 7, {"annotations": 7}])
async def test_malformed_referrers_do_not_hide_the_image(entry: object) -> None:
    """The image is described; what refers to it is unknown."""

    class Lists(Registry):
        async def fetch_referrers(self, reference: Reference) -> Document | None:
            return Document(OCI_INDEX, json.dumps({"manifests": [entry]}).encode())

    registry = Lists()
    registry.push(TOOL)

    answer = await Inspector(registry).inspect(parse_reference(TOOL), None, referrers=True)

    assert answer.container and answer.referrers is None


def test_the_texts_of_referrers_are_short() -> None:
    """A stranger's list fills neither the answer nor the page."""
    entry = {"mediaType": "m" * 999, "digest": f"sha256:{'0' * 64}", "size": 1, "artifactType": "t" * 999}
    entry |= {"annotations": {f"{number}-{'n' * 999}": "v" * 999 for number in range(99)}}

    found = referrers_of(Document(OCI_INDEX, json.dumps({"manifests": [entry] * 300}).encode()))

    assert len(found) == 100
    assert len(msgspec.json.encode(found[0])) < 6_000


@pytest.mark.parametrize("docker", [True, False])
async def test_an_index_is_described_as_an_index(registry: Registry, inspector: Inspector, docker: bool) -> None:
    """Without a requested platform, none is chosen."""
    children = [
        registry.push(TOOL, platform=platform, docker=docker) for platform in ("amd64", "arm64", "linux/arm/v7")
    ]
    pushed = registry.push_index(TOOL, *children, docker=docker)

    answer = decoded(await inspector.inspect(pushed.reference, None))

    assert answer == {"index": {**pushed.manifest.fields, "digest": pushed.digest}}
    assert answer["index"]["mediaType"] == (DOCKER_LIST if docker else OCI_INDEX)


async def test_a_platform_leads_to_its_image(registry: Registry, inspector: Inspector) -> None:
    """`reference` is what was asked for, `digest` what was found."""
    amd, arm = (registry.push(TOOL, platform=platform) for platform in ("amd64", "arm64"))
    registry.push_index(TOOL, amd, arm)

    container = (await inspector.inspect(parse_reference(TOOL), ARM)).container

    assert container
    assert (container.reference, container.digest) == ("2.1", arm.digest)
    assert container.config.architecture == "arm64"


async def test_a_platform_is_found_in_an_index_of_indexes(registry: Registry, inspector: Inspector) -> None:
    """Those that do not have it are passed over."""
    amd, arm = (registry.push(TOOL, platform=platform) for platform in ("amd64", "arm64"))
    outer = registry.push_index(TOOL, registry.push_index(TOOL, amd), registry.push_index(TOOL, arm))

    container = (await inspector.inspect(outer.reference, ARM)).container

    assert container and container.digest == arm.digest


async def test_the_config_has_the_platform_that_the_index_lacks(registry: Registry, inspector: Inspector) -> None:
    """`platform` is optional in an index."""
    amd, arm = (registry.push(TOOL, platform=platform) for platform in ("amd64", "arm64"))
    index = registry.push_index(TOOL, *(structs.replace(each, platform=None) for each in (amd, arm)))

    container = (await inspector.inspect(index.reference, ARM)).container

    assert container and container.digest == arm.digest
    with pytest.raises(BadRequest, match="no image for linux/arm/v7"):
        await inspector.inspect(index.reference, parse_platform("arm"))


async def test_a_platform_that_the_index_lacks_is_a_client_error(registry: Registry, inspector: Inspector) -> None:
    """The error is not "not found": the image exists. The message lists its platforms, also for nested indexes."""
    index = registry.push_index(TOOL, registry.push(TOOL))
    outer = registry.push_index("quay.io/acme/tool:outer", index)

    for image in (index, outer):
        with pytest.raises(BadRequest, match="not made for linux/arm64, but for linux/amd64"):
            await inspector.inspect(image.reference, ARM)


async def test_an_image_without_an_index_is_the_one(registry: Registry, inspector: Inspector) -> None:
    """As in pulls: there is nothing to choose from."""
    pushed = registry.push(TOOL)

    container = (await inspector.inspect(pushed.reference, ARM)).container

    assert container and container.digest == pushed.digest


async def test_an_entry_that_the_registry_lacks_is_not_found(registry: Registry, inspector: Inspector) -> None:
    """This differs from a platform that the index does not list."""
    elsewhere = registry.push("quay.io/acme/elsewhere:1", platform="arm64")
    index = registry.push_index(TOOL, elsewhere)

    with pytest.raises(ManifestUnknown):
        await inspector.inspect(index.reference, ARM)


async def test_a_chart_has_no_run_time_config() -> None:
    """Artifacts are described too; their configs have other types and are not read."""
    empty = b"apiVersion: v2"
    part = {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": digest_of(empty), "size": len(empty)}
    fields = {"schemaVersion": 2, "artifactType": "application/vnd.example", "config": part, "layers": []}
    chart = detect(OCI_MANIFEST, json.dumps(fields).encode())

    answer = decoded(await Inspector(OneDocument(chart)).inspect(parse_reference(TOOL), None))

    assert answer["container"]["config"] == {}
    assert answer["container"]["manifest"] == fields | {"mediaType": OCI_MANIFEST}


async def test_a_manifest_of_schema_1_is_refused() -> None:
    """Schema 1 has no config; the message says that the format is not supported."""
    signed = Document("application/vnd.docker.distribution.manifest.v1+prettyjws", b'{"schemaVersion":1}')

    with pytest.raises(ImageUnsupported, match=TOOL):
        await Inspector(OneDocument(signed)).inspect(parse_reference(TOOL), None)


def test_dockers_names_become_waves() -> None:
    """All that Docker writes; what is empty is left out, what is false is said."""
    run = {
        "Hostname": "h",
        "Domainname": "d",
        "User": "u",
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "Env": ["A=b"],
        "Cmd": None,
        "Image": "sha256:0",
        "Volumes": {"/data": {}},
        "WorkingDir": "",
        "Entrypoint": ["/e"],
        "OnBuild": [],
        "Labels": {"l": "m"},
    }

    assert config_of(config=run, container="c", os="linux", history=[{"created_by": "x"}]) == {
        "config": {
            "hostName": "h",
            "domainName": "d",
            "user": "u",
            "attachStdin": False,
            "attachStdout": True,
            "attachStderr": True,
            "tty": False,
            "env": ["A=b"],
            "image": "sha256:0",
            "entrypoint": ["/e"],
            "labels": {"l": "m"},
        },
        "container": "c",
        "history": [{"created_by": "x"}],
    }


def test_a_command_that_is_text_is_a_list_of_one() -> None:
    """Docker read such configs for years."""
    assert config_of(config={"Cmd": "sh", "Entrypoint": "/e"})["config"] == {"cmd": ["sh"], "entrypoint": ["/e"]}


@pytest.mark.parametrize("config", [{}, {"config": None, "rootfs": None, "created": None, "architecture": None}])
def test_an_empty_config_gives_empty_fields(config: dict[str, object]) -> None:
    """Every field of a config is optional."""
    assert config_of(**config) == {}


@pytest.mark.parametrize("rootfs", [{"type": "layers"}, {"type": "layers", "diff_ids": None}])
def test_an_image_of_no_layers_has_no_diff_ids(rootfs: dict[str, object]) -> None:
    """Go writes an empty list as null or not at all."""
    assert config_of(rootfs=rootfs) == {"rootfs": {"type": "layers"}}


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2026-01-05T08:00:00Z", "2026-01-05T08:00:00Z"),
        ("2026-01-05T08:00:00.123456789Z", "2026-01-05T08:00:00.123456789Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("2026-01-05T10:00:00.5+02:00", "2026-01-05T08:00:00.5Z"),
        ("2026-01-05T10:00:00.123456789+02:00", "2026-01-05T08:00:00.123456789Z"),
        ("0800-01-05T10:00:00+02:00", "0800-01-05T08:00:00Z"),
        ("2026-13-05T08:00:00Z", None),
        ("2026-01-05T08:00:61Z", None),
        ("0001-01-01T00:00:00+02:00", None),
        ("yesterday", None),
    ],
)
def test_the_time_of_making_is_an_instant(written: str, instant: str | None) -> None:
    """Wave's command line reads nothing but UTC with a Z, and stops at anything else."""
    assert config_of(created=written).get("created") == instant


@pytest.mark.parametrize(
    "config", [b"[]", b'{"config":[]}', b'{"config":{"Env":"A=b"}}', b'{"rootfs":{"diff_ids":1}}', b"\xff"]
)
def test_a_malformed_config_is_an_invalid_manifest(config: bytes) -> None:
    """The error must not look like a fault of the server or of the client."""
    image = Image(make_image("x").manifest, Document(OCI_CONFIG, config))

    with pytest.raises(ManifestInvalid):
        container_info(parse_reference(TOOL), "https://quay.io", image)


@pytest.mark.parametrize("fields", [{}, {"manifests": [{"digest": "sha256:0", "size": 1}]}, {"manifests": [1]}])
def test_a_malformed_index_is_an_invalid_manifest(fields: dict[str, object]) -> None:
    """The error must not look like a fault of the server or of the client."""
    with pytest.raises(ManifestInvalid):
        index_info(Document(OCI_INDEX, json.dumps(fields).encode()))


async def test_a_config_is_read_only_where_the_manifest_says(registry: Registry) -> None:
    """One question for the manifest and one for its config; a registry counts them."""
    pushed = registry.push(TOOL)
    await Inspector(registry).inspect(pushed.reference, None)
    descriptor: Descriptor = pushed.manifest.config

    assert registry.asked == {TOOL: 1, f"quay.io/acme/tool@{descriptor.digest}": 1}
