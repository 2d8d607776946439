"""Images that could not be pushed: stored in S3, and pushed to a real registry by another builder."""

import gzip
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from builder.adapters.registry import pusher, registry_push
from builder.engine import Recipe
from builder.settings import EngineSettings
from builder.unpushed import Keeping, UnpushedImages
from swell.errors import Unavailable
from swell.net.outbound import Policy, open_session
from swell.oci.digest import digest_of, hex_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX, OCI_MANIFEST
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.principal import OPERATOR
from swell.registry.push import RegistryPush
from swell.store.objects import MemoryObjects, Objects
from swell.store.s3_objects import connect
from swell_embedded.stack import Stack
from tests.integration.builder.harness import Output, Registry
from tests.stores import LAYERS, s3_of

CONFIG, LAYER = b'{"os": "linux", "architecture": "amd64"}', gzip.compress(b"layer" * 1000)


@pytest.fixture(params=["memory", "s3"])
async def objects(request: pytest.FixtureRequest, backends: Stack) -> AsyncIterator[Objects]:
    if request.param == "memory":
        yield MemoryObjects()
        return
    async with connect(s3_of(backends.env), LAYERS) as opened:
        yield opened


@pytest.fixture
async def push(registry: Registry, tmp_path: Path) -> AsyncIterator[RegistryPush]:
    settings = EngineSettings(workspace=tmp_path, push_auth_file=registry.auth_file)
    async with open_session(Policy(frozenset({registry.address}))) as session:
        yield registry_push(pusher(session, settings, AwsLogins(session, settings)))


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An OCI layout as an engine exports it."""
    blobs = tmp_path / "layout/blobs/sha256"
    blobs.mkdir(parents=True)
    manifest = manifest_of_layout().content
    for content in (CONFIG, LAYER, manifest):
        (blobs / hex_of(digest_of(content))).write_bytes(content)
    entry = {"mediaType": OCI_MANIFEST, "digest": digest_of(manifest), "size": len(manifest)}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    (tmp_path / "layout/index.json").write_bytes(msgspec.json.encode(index))
    return tmp_path / "layout"


def manifest_of_layout() -> Document:
    described = {"digest": digest_of(CONFIG), "size": len(CONFIG)}
    layer = {"digest": digest_of(LAYER), "size": len(LAYER)}
    fields = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **described},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **layer}],
    }
    return Document(OCI_MANIFEST, msgspec.json.encode(fields))


def recipe_of(registry: Registry, name: str, key: str = "k" * 64) -> Recipe:
    return Recipe(
        build_id="bd-1_1",
        target_image=f"{registry.address}/{name}",
        containerfile="FROM a",
        principal=OPERATOR,
        push_principal=OPERATOR,
        key=key,
    )


async def test_a_stored_image_is_pushed_once_by_another_builder(
    objects: Objects, push: RegistryPush, registry: Registry, layout: Path, tmp_path: Path
) -> None:
    """The manifest has the same bytes; afterwards the image is not stored any more."""
    key = hex_of(digest_of(str(tmp_path).encode()))
    recipe = recipe_of(registry, f"{key}:1", key)
    first, second = (
        UnpushedImages(objects, push, tmp_path / name, timedelta(minutes=1)) for name in ("first", "second")
    )
    assert await second.push(recipe, Output()) is None
    assert await first.store(recipe, layout)
    output = Output()

    digest = await second.push(recipe, output)

    assert digest == manifest_of_layout().digest == registry.fetch(f"{key}/manifests/1")[1]
    assert registry.fetch(f"{key}/blobs/{digest_of(LAYER)}")[0] == LAYER
    assert "is built already" in output.text
    assert await second.push(recipe, Output()) is None
    assert list((tmp_path / "second").iterdir()) == []


async def test_a_link_in_the_layout_is_not_followed(
    push: RegistryPush, registry: Registry, layout: Path, tmp_path: Path
) -> None:
    """Processes of the build can write to it: the files of the builder's machine are not theirs."""
    secret = tmp_path / "secret"
    secret.write_bytes(LAYER)
    blob = layout / "blobs/sha256" / hex_of(digest_of(LAYER))
    blob.unlink()
    blob.symlink_to(secret)
    unpushed = UnpushedImages(MemoryObjects(), push, tmp_path, timedelta(minutes=1))

    assert not await unpushed.store(recipe_of(registry, "linked:1"), layout)


@pytest.mark.parametrize("index", [b"", b"{}", b'{"manifests": []}', b"[" * 1000])
async def test_a_layout_without_one_image_is_not_stored(
    index: bytes, push: RegistryPush, registry: Registry, layout: Path, tmp_path: Path
) -> None:
    """The build goes on, and repeats its push."""
    (layout / "index.json").write_bytes(index)
    unpushed = UnpushedImages(MemoryObjects(), push, tmp_path, timedelta(minutes=1))

    assert not await unpushed.store(recipe_of(registry, "none:1"), layout)


class Away(MemoryObjects):
    """An object store that fails as often as `failures` says."""

    failures = 1

    async def put(self, key: str, content: bytes, media_type: str = "application/octet-stream") -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("the object store does not answer")
        await super().put(key, content, media_type)


async def test_an_image_is_kept_although_the_object_store_was_away(
    push: RegistryPush, registry: Registry, layout: Path, tmp_path: Path
) -> None:
    """It is exported once. When it is pushed, it is forgotten."""
    exports, objects = list[bool](), Away()
    unpushed = UnpushedImages(objects, push, tmp_path, timedelta(minutes=1))

    async def export() -> bool:
        exports.append(True)
        return True

    keeping = Keeping(recipe_of(registry, "kept:1"), unpushed, layout, export)

    assert [await keeping.keep(), await keeping.keep()] == [False, True]
    assert exports == [True]
    assert await unpushed.push(recipe_of(registry, "kept:1"), Output()) == manifest_of_layout().digest
    await keeping.forget()
    assert await unpushed.push(recipe_of(registry, "kept:1"), Output()) is None


async def test_an_image_that_cannot_be_exported_is_not_tried_again(push: RegistryPush, tmp_path: Path) -> None:
    """For example, a layer of its base image is only in the registry that fails."""

    async def export() -> bool:
        return False

    recipe = Recipe(
        build_id="bd-1_1",
        target_image="r.example/a:1",
        containerfile="",
        principal=OPERATOR,
        push_principal=OPERATOR,
        key="k" * 64,
    )
    unpushed = UnpushedImages(Away(), push, tmp_path, timedelta(minutes=1))

    assert await Keeping(recipe, unpushed, tmp_path / "missing", export).keep()
    assert await Keeping(recipe, None, tmp_path / "missing", export).keep()
