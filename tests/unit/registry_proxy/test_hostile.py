"""Malicious images are served, augmented or refused; every served document matches its digest."""

import json
from datetime import UTC, datetime
from typing import Any, Self

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_proxy.image_tree.tree import Pull
from registry_proxy.inspect import Inspector
from registry_proxy.pull import Pulls
from swell.api.containers import ContainerConfig
from swell.errors import (
    BadRequest,
    BlobUnknown,
    ImageUnsupported,
    ManifestInvalid,
    ManifestUnknown,
    SwellError,
    TooLarge,
)
from swell.oci.descriptor import Descriptor
from swell.oci.digest import digest_of
from swell.oci.document import Document, detect
from swell.oci.media_types import DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, SCHEMA_1
from swell.oci.platform import parse_platform
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.principal import Principal
from swell.testing.images import make_layer
from tests.unit.registry_proxy.memory import MemoryDocuments, MemoryLayers, MemoryLeases

IMAGE = parse_reference("docker.io/library/hostile:1")
REFUSALS = (ManifestInvalid, ManifestUnknown, BlobUnknown, ImageUnsupported, TooLarge)
PLATFORMS = (parse_platform("linux/amd64"), parse_platform("linux/arm64"))
WANTED = ContainerConfig(env=("A=é",), layers=(make_layer("added").to_add("https://example.com/added.tar.gz"),))


class Hostile:
    """A registry that has these bytes, under the types that it says."""

    def __init__(self) -> None:
        self.documents: dict[str, tuple[str, bytes]] = {}
        self.root: tuple[str, bytes] = ("", b"")

    def keep(self, content: bytes, media_type: str = OCI_MANIFEST) -> dict[str, Any]:
        """Have *content*; gives its descriptor."""
        self.documents[digest_of(content)] = media_type, content
        return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}

    def acting_for(self, principal: Principal) -> Self:
        return self

    def host_name(self, registry: str) -> str:
        return f"https://{registry}"

    async def fetch_referrers(self, reference: Reference) -> Document | None:
        return None

    async def head_manifest_now(self, reference: Reference) -> Any:
        return await self.head_manifest(reference)

    async def current_digest(self, reference: Reference) -> Any:
        return (await self.fetch_manifest(reference)).digest, False

    async def head_blob(self, reference: Reference, digest: str) -> int | None:
        return None

    async def head_manifest(self, reference: Reference) -> Any:
        return (await self.fetch_manifest(reference)).digest

    async def fetch_manifest(self, reference: Reference) -> Document:
        return detect(*(self.documents[reference.digest] if reference.digest else self.root))

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document:
        if descriptor.digest not in self.documents:
            raise BlobUnknown
        return Document(*self.documents[descriptor.digest])


def pull_of(wanted: ContainerConfig) -> Pull:
    return Pull("t", IMAGE, PLATFORMS, datetime(2026, 11, 25, tzinfo=UTC), wanted)


async def outcome(registry: Hostile, wanted: ContainerConfig = WANTED) -> Document | SwellError:
    pulls = Pulls(registry, MemoryDocuments(), MemoryLayers(), MemoryLeases())
    try:
        return await pulls.manifest(pull_of(wanted), "1")
    except REFUSALS as error:
        assert str(error)
        return error


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
entry_platforms = st.fixed_dictionaries(
    {},
    optional={
        "os": st.just("linux") | anything,
        "architecture": st.sampled_from(["amd64", "arm64"]) | anything,
        "variant": st.just("v8") | anything,
    },
)
config_fields: dict[str, st.SearchStrategy[Any]] = {
    "architecture": st.just("amd64") | anything,
    "config": st.fixed_dictionaries(
        {}, optional={name: st.lists(st.text()) | anything for name in ("Env", "Entrypoint", "Cmd", "Labels")}
    )
    | anything,
    "history": st.lists(st.just({"created_by": "x"}) | st.just({"empty_layer": True}) | anything, max_size=3),
    "rootfs": st.just({"type": "layers", "diff_ids": [digest_of(b"1")]}) | anything,
    "x": anything,
}


@st.composite
def registries(draw: st.DrawFn) -> Hostile:
    """An index of manifests with configs, each nearly right or wrong somewhere."""
    registry = Hostile()
    layer = {"mediaType": OCI_LAYER, "digest": digest_of(b"layer"), "size": 1}
    entries = []
    for _ in range(draw(st.integers(1, 3))):
        config = draw(st.fixed_dictionaries({}, optional=config_fields) | anything)
        config_descriptor = registry.keep(json.dumps(config).encode(), OCI_CONFIG)
        manifest = {
            "schemaVersion": 2,
            "mediaType": draw(st.sampled_from([OCI_MANIFEST, DOCKER_MANIFEST])),
            "config": draw(st.just(config_descriptor) | anything),
            "layers": draw(st.just([layer]) | anything),
            "subject": draw(anything),
        }
        media_type = draw(st.just(str(manifest["mediaType"])) | st.sampled_from([OCI_INDEX, "", "text/html"]))
        described = registry.keep(json.dumps(manifest).encode(), media_type)
        more = draw(st.fixed_dictionaries({}, optional={"platform": entry_platforms | anything, "data": anything}))
        entries.append(draw(st.just(described | more) | anything))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": draw(st.just(entries) | anything)}
    registry.root = (OCI_INDEX, json.dumps(draw(st.just(index) | anything)).encode())
    return registry


@given(registries(), st.booleans())
async def test_any_image_is_served_or_refused(registry: Hostile, adds: bool) -> None:
    """The error names the party at fault, and other users' pulls are not affected."""
    made = await outcome(registry, WANTED if adds else ContainerConfig())

    for platform in (None, PLATFORMS[0]):
        try:
            assert msgspec.json.encode(await Inspector(registry).inspect(IMAGE, platform))
        except (*REFUSALS, BadRequest) as error:
            assert str(error)
    if isinstance(made, Document):
        assert made.digest == digest_of(made.content)
        assert adds or made.content == registry.root[1]


def manifest_with(config: bytes) -> Hostile:
    """A registry with one image, of *config*."""
    registry = Hostile()
    config_descriptor = registry.keep(config, OCI_CONFIG)
    registry.root = (
        OCI_MANIFEST,
        json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config_descriptor, "layers": []}).encode(),
    )
    return registry


@pytest.mark.parametrize("media_type", [*sorted(SCHEMA_1), "application/json"])
async def test_an_image_of_schema_1_is_passed_on_and_takes_no_additions(media_type: str) -> None:
    """Old images can still be pulled; a request that adds something gets a clear error."""
    registry = Hostile()
    registry.root = media_type, b'{"schemaVersion":1,"fsLayers":[],"history":[],"signatures":[]}'

    made, refused = await outcome(registry, ContainerConfig()), await outcome(registry)

    assert isinstance(made, Document)
    assert (made.media_type, made.content) == registry.root
    assert isinstance(refused, ImageUnsupported)
    assert (refused.status, "schema 1" in str(refused)) == (400, True)
    pulls = Pulls(registry, MemoryDocuments(), MemoryLayers(), MemoryLeases())
    with pytest.raises(ImageUnsupported, match="image format is not supported"):
        await pulls.locate(pull_of(ContainerConfig()), digest_of(b"layer"))


async def test_an_artifact_is_passed_on_and_takes_no_additions() -> None:
    """A chart, a SIF file: their layers are no file systems."""
    registry = Hostile()
    config = registry.keep(b'{"name":"chart"}', "application/vnd.cncf.helm.config.v1+json")
    chart = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    registry.root = OCI_MANIFEST, json.dumps(chart).encode()

    made, refused = await outcome(registry, ContainerConfig()), await outcome(registry)

    assert isinstance(made, Document)
    assert made.content == registry.root[1]
    assert isinstance(refused, ImageUnsupported)
    assert "no container image" in str(refused)


ROOTFS = b'"rootfs":{"type":"layers","diff_ids":[]}'


@pytest.mark.parametrize(
    "config",
    [
        b"{" + ROOTFS + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"{" + ROOTFS + b',"x":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
        b"{" + ROOTFS + b',"x":1e400}',
        b"{" + ROOTFS + b',"x":"\\ud800"}',
        b"{" + ROOTFS + b',"x":"\xff"}',
        b"{" + ROOTFS + b',"config":{"Env":["A=\\u0000"]}}',
        b'{"rootfs":{"diff_ids":null}}',
        b"[]",
        b"",
    ],
    ids=lambda config: str(config[40:70]),
)
async def test_a_malformed_config_is_the_registrys_fault(config: bytes) -> None:
    """Or it is taken as it is, where it can be written again."""
    made = await outcome(manifest_with(config))

    assert isinstance(made, Document | ManifestInvalid | ImageUnsupported)


@pytest.mark.parametrize("number", [b"123456789012345678901234567890", b"-0.5", b"18446744073709551616"])
async def test_large_numbers_stay_unchanged(number: bytes) -> None:
    """The image's author may rely on them; converting to float would change the number."""
    registry = manifest_with(b"{" + ROOTFS + b',"x":' + number + b"}")
    documents = MemoryDocuments()

    made = await Pulls(registry, documents, MemoryLayers(), MemoryLeases()).manifest(pull_of(WANTED), "1")

    config = await documents.config(made.config.digest)
    assert config
    assert b'"x":' + number + b"," in config.content or config.content.endswith(b'"x":' + number + b"}")


async def test_of_two_keys_of_one_name_the_last_counts_and_one_is_left() -> None:
    """Parsers differ in which they take, so what we write has no choice to offer."""
    registry, documents = (
        manifest_with(b'{"architecture":"arm64","architecture":"amd64",' + ROOTFS + b"}"),
        MemoryDocuments(),
    )

    made = await Pulls(registry, documents, MemoryLayers(), MemoryLeases()).manifest(pull_of(WANTED), "1")

    config = await documents.config(made.config.digest)
    assert config
    assert config.content.count(b'"architecture"') == 1
    assert config.fields["architecture"] == "amd64"


@pytest.mark.parametrize("wanted", [WANTED, ContainerConfig()])
async def test_indexes_in_indexes_without_end_are_refused(wanted: ContainerConfig) -> None:
    """Each level costs the upstream a question, and us a frame of the stack."""
    registry = Hostile()
    inner = registry.keep(b'{"schemaVersion":2,"manifests":[]}', OCI_INDEX)
    for _ in range(2000):
        content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [inner]}).encode()
        inner = registry.keep(content, OCI_INDEX)
    registry.root = OCI_INDEX, content
    pulls, pull = Pulls(registry, MemoryDocuments(), MemoryLayers(), MemoryLeases()), pull_of(wanted)

    with pytest.raises(ManifestInvalid, match="within each other"):
        await Inspector(registry).inspect(IMAGE, PLATFORMS[0])

    with pytest.raises(ManifestInvalid, match="within each other"):
        await pulls.manifest(pull, digest_of(b"nothing"))
    with pytest.raises(ManifestInvalid, match="within each other"):
        await pulls.locate(pull, digest_of(b"nothing"))
