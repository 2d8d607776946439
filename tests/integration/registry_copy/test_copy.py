"""Copies of whole images into a real docker-registry 2.8, from a registry with the referrers API."""

import asyncio
import json

import pytest

from builder.adapters.copies import RegistryCopies
from swell.errors import BlobUnknown, Denied, DigestMismatch, ManifestInvalid, ManifestUnknown, TooLarge, UpstreamFailed
from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX
from swell.oci.reference import Reference
from swell.oci.referrers_tag import referrers_tag
from swell.registry.copy import CopyLimits, CopyProgress
from swell.registry.push import RegistryPush, fetch_document, has_blob
from swell.registry.referrers import fetch_referrers, push_manifest, push_referrers
from swell.testing.cutting_proxy import cutting_proxy
from swell.testing.http_registry import http_registry
from swell.testing.images import SampleImage, make_image, make_index
from tests.integration.registry_copy.places import BLOB, Places, large_image, referring


def push_image(places: Places, name: str, image: SampleImage) -> Reference:
    """Store *image* in the source registry."""
    reference = places.source.image(name)
    places.source.put(reference, image.manifest, image.config.content, *(layer.gzipped for layer in image.layers))
    return reference


def push_index(places: Places, name: str, *images: SampleImage) -> tuple[Reference, Document]:
    """Store an index of *images* in the source registry."""
    reference = places.source.image(name)
    for image in images:
        push_image(places, f"{reference.repository}:{image.manifest.digest[7:20]}", image)
    index = make_index(*((image.manifest, image.platform) for image in images))
    places.source.put(reference, index)
    return reference, index


async def test_an_index_is_copied_with_all_platforms_byte_for_byte(places: Places) -> None:
    """The digest of the copy is the digest of the source, and every blob of every platform can be read."""
    images = [make_image("amd", layers=3), make_image("arm", platform="linux/arm64", docker=True)]
    source, index = push_index(places, "team/tool:1", *images)
    target = places.at_target("copies/whole:1")

    result = await places.copier().copy(source, target, places.report)

    assert result.digest == index.digest
    client = places.client()
    copied = await fetch_document(client, target)
    assert copied is not None and copied.content == index.content
    for image in images:
        manifest = await fetch_document(client, target.at(image.manifest.digest))
        assert manifest is not None and manifest.content == image.manifest.content
        for blob in (manifest.config, *manifest.layers):
            assert await has_blob(client, target, blob.digest)


async def test_a_second_copy_sends_nothing(places: Places) -> None:
    """What the target has is not sent again; after a moved tag only the difference is sent."""
    source = push_image(places, "team/again:1", make_image("again", layers=2))
    target = places.at_target("copies/again:1")
    await places.copier().copy(source, target, places.report)

    plan = await places.copier().plan(source, target)
    result = await places.copier().copy(source, target, places.report)

    assert (plan.size, plan.tag, result.sent) == (0, False, 0)
    moved = make_image("again, moved", layers=1)
    push_image(places, "team/again:1", moved)
    plan = await places.copier().plan(source, target)
    expected = len(moved.manifest.content) + len(moved.config.content) + len(moved.layers[0].gzipped)
    assert (plan.size, plan.tag) == (expected, True)
    assert (await places.copier().copy(source, target, places.report)).sent == expected
    assert await places.copier().digest_of(target) == moved.manifest.digest


async def test_a_broken_upload_continues_where_the_registry_stopped(places: Places) -> None:
    """The connection breaks three times; the registry's own report decides where the upload continues."""
    manifest, config, layer = large_image()
    source = places.source.image("team/large:1")
    places.source.put(source, manifest, config, layer)
    progress = CopyProgress()
    async with http_registry() as registry, cutting_proxy(registry.authority) as proxy:
        target = places.at_target("copies/cut:1", proxy.authority)
        proxy.cuts = [8 << 20, 6 << 20, 4 << 20]

        await places.copier(proxy.authority).copy(source, target, places.report, progress=progress)

        assert registry.blobs["copies/cut", digest_of(layer)] == layer
    assert proxy.broken == 3
    assert (
        registry.received == BLOB + len(config) + 2 * manifest.size
    )  # by digest and by tag; no byte of the layer twice
    assert progress.sent == progress.expected == BLOB + len(config) + manifest.size


async def test_a_broken_upload_starts_again_where_the_registry_forgets_it(places: Places) -> None:
    """docker-registry 2.8 invalidates an upload whose connection broke, and answers 202 to wrong offsets."""
    manifest, config, layer = large_image()
    source = places.source.image("team/forgotten:1")
    places.source.put(source, manifest, config, layer)
    async with cutting_proxy(places.target.authority) as proxy:
        target = places.at_target("copies/forgotten:1", proxy.authority)
        proxy.cuts = [8 << 20, 4 << 20]

        await places.copier(proxy.authority).copy(source, target, places.report)

    assert proxy.broken == 2
    assert await fetch_document(places.client(), places.at_target("copies/forgotten:1")) == manifest
    assert await has_blob(places.client(), places.at_target("copies/forgotten:1"), digest_of(layer))


@pytest.mark.parametrize("has_ranges", [True, False])
async def test_a_broken_download_continues_at_the_same_byte(places: Places, has_ranges: bool) -> None:
    """The source breaks the connection in the middle of a layer; the upload goes on, even without ranges."""
    manifest, config, layer = large_image()
    places.source.has_ranges = has_ranges
    async with cutting_proxy(places.source.authority, from_server=True) as proxy:
        places.source.put(places.source.image("team/download:1"), manifest, config, layer)
        proxy.cuts = [9 << 20, 5 << 20]
        source = places.at_target("team/download:1", proxy.authority)

        result = await places.copier().copy(
            source, places.at_target(f"copies/download-{int(has_ranges)}:1"), places.report
        )

    assert (result.digest, proxy.broken) == (manifest.digest, 2)
    assert not has_ranges or proxy.passed < BLOB + (8 << 20)


async def test_other_bytes_than_the_digest_are_not_stored(places: Places) -> None:
    """A source that sends a wrong layer is named as the cause, and the target gets no tag."""
    manifest, config, layer = large_image(3 << 20)
    source, target = places.source.image("team/wrong:1"), places.at_target("copies/wrong:1")
    places.source.put(source, manifest, config)
    places.source.blobs[source.repository, digest_of(layer)] = bytes(len(layer))

    with pytest.raises(DigestMismatch, match="another digest"):
        await places.copier().copy(source, target, places.report)

    assert await places.copier().digest_of(target) is None
    assert not await has_blob(places.client(), target, digest_of(layer))


async def test_signatures_are_copied_to_a_registry_without_the_referrers_api(places: Places) -> None:
    """They are listed under the referrers tag, beside what was listed there already."""
    image = make_image("signed")
    source, target = push_image(places, "team/signed:1", image), places.at_target("copies/signed:1")
    notes = [referring(image.manifest, f"note {number}") for number in range(3)]
    for note, layer in notes:
        places.source.put(source.at(note.digest), note, layer)
    nested, nested_layer = referring(notes[0][0], "a note about a note")
    places.source.put(source.at(nested.digest), nested, nested_layer)
    old, old_layer = referring(image.manifest, "listed before")
    await push_blob_and_manifest(places, target.at(old.digest), old, old_layer)

    await places.copier().copy(source, target, places.report)

    listed = await fetch_referrers(places.client(), target.at(image.manifest.digest))
    assert set(listed) == {old.digest, *(note.digest for note, _ in notes)}
    assert await fetch_referrers(places.client(), target.at(notes[0][0].digest)) == [nested.digest]
    index = await fetch_document(places.client(), target.at(referrers_tag(image.manifest.digest)))
    assert index is not None and index.kind == OCI_INDEX
    entry = next(each for each in index.fields["manifests"] if each["digest"] == notes[1][0].digest)
    assert (entry["artifactType"], entry["annotations"]) == ("application/vnd.example.note", {"note": "note 1"})
    assert (await places.copier().plan(source, target)).size == 0


async def test_an_unlisted_signature_is_listed_by_the_next_copy(places: Places) -> None:
    """A builder that stops between the push and the list leaves a manifest that nothing finds."""
    image = make_image("unlisted")
    source, target = push_image(places, "team/unlisted:1", image), places.at_target("copies/unlisted:1")
    note, layer = referring(image.manifest, "unlisted")
    places.source.put(source.at(note.digest), note, layer)
    await places.copier().copy(source, target, places.report)
    tag = target.at(referrers_tag(image.manifest.digest))
    await push_manifest(places.client(), tag, Document(OCI_INDEX, json.dumps(EMPTY_LIST).encode()))

    await places.copier().copy(source, target, places.report)

    assert await fetch_referrers(places.client(), target.at(image.manifest.digest)) == [note.digest]


@pytest.mark.parametrize("has_api", [True, False])
async def test_several_referrers_are_listed_together(places: Places, has_api: bool) -> None:
    """Those that are listed already stay, and no entry is twice, in a registry with the referrers API and without."""
    image = make_image(f"together {has_api}")
    target = places.source.image("team/together:1") if has_api else places.at_target("copies/together:1")
    client = places.client()
    for content in (image.config.content, image.layers[0].gzipped):
        await RegistryPush(client).blob(target, digest_of(content), content)
    await push_manifest(client, target, image.manifest)
    notes = [referring(image.manifest, f"note {number}") for number in range(3)]
    for _, layer in notes:
        await RegistryPush(client).blob(target, digest_of(layer), layer)
    documents = [note for note, _ in notes]
    await push_manifest(client, target.at(documents[0].digest), documents[0])

    for _ in range(2):
        await push_referrers(client, target, documents)

    listed = await fetch_referrers(client, target.at(image.manifest.digest))
    assert sorted(listed) == sorted(document.digest for document in documents)
    index = await fetch_document(client, target.at(referrers_tag(image.manifest.digest)))
    assert (index is None) == has_api


EMPTY_LIST = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


async def test_signatures_under_tags_are_copied(places: Places) -> None:
    """Older versions of cosign store them as `sha256-<hex>.sig`, without a subject."""
    image, signature = make_image("tagged"), make_image("its signature")
    source, target = push_image(places, "team/tagged:1", image), places.at_target("copies/tagged:1")
    tag = f"{referrers_tag(image.manifest.digest)}.sig"
    push_image(places, f"team/tagged:{tag}", signature)

    await places.copier().copy(source, target, places.report)

    assert await places.copier().digest_of(target.at(tag)) == signature.manifest.digest


async def test_simultaneous_referrers_are_all_listed(places: Places) -> None:
    """Each client reads the list again after its change, so no entry is lost when two write at once."""
    image = make_image("at once")
    target = places.at_target("copies/at-once:1")
    await push_sample(places, target, image)
    notes = [referring(image.manifest, f"simultaneous {number}") for number in range(2)]

    await asyncio.gather(
        *(push_blob_and_manifest(places, target.at(note.digest), note, layer) for note, layer in notes)
    )

    listed = await fetch_referrers(places.client(), target.at(image.manifest.digest))
    assert set(listed) == {note.digest for note, _ in notes}


async def test_a_long_list_of_referrers_is_read_to_its_end(places: Places) -> None:
    """The source lists them on several pages."""
    image = make_image("many notes")
    source, target = push_image(places, "team/many:1", image), places.at_target("copies/many:1")
    places.source.page_size = 2
    for number in range(5):
        note, layer = referring(image.manifest, f"page {number}")
        places.source.put(source.at(note.digest), note, layer)

    plan = await places.copier().plan(source, target)

    assert sum(node.subject == image.manifest.digest for node in plan.documents) == 5


async def test_layers_of_another_repository_are_mounted(places: Places) -> None:
    """Two images of one list share a layer: it is sent once, and mounted for the second image."""
    manifest, config, layer = large_image(2 << 20)
    async with http_registry() as target:
        copier = places.copier(target.authority)
        for name in ("first", "second"):
            places.source.put(places.source.image(f"team/{name}:1"), manifest, config, layer)
            await copier.copy(places.source.image(f"team/{name}:1"), target.image(f"copies/{name}:1"), places.report)

        assert target.blobs["copies/second", digest_of(layer)] == layer
    assert target.received < 2 * len(layer)


async def test_a_layer_that_the_source_has_not_sent_is_not_mounted(places: Places) -> None:
    """The credentials for pushes open repositories that the client may not read: a source only names their layers."""
    manifest, config, layer = large_image(1 << 10)
    async with http_registry() as target:
        copier = places.copier(target.authority)
        target.put(target.image("copies/private:1"), manifest, config, layer)
        for name in ("private", "readable"):
            places.source.put(places.source.image(f"team/{name}:1"), manifest, config)
        await copier.copy(places.source.image("team/private:1"), target.image("copies/private:1"), places.report)

        with pytest.raises(BlobUnknown):
            await copier.copy(places.source.image("team/readable:1"), target.image("copies/readable:1"), places.report)

        assert ("copies/readable", digest_of(layer)) not in target.blobs


async def test_the_tag_is_not_set_when_it_must_not(places: Places) -> None:
    """A newer copy to the same tag has begun: the older one stores its image by digest only."""
    image = make_image("older")
    source, target = push_image(places, "team/older:1", image), places.at_target("copies/older:1")

    async def never() -> bool:
        return False

    await places.copier().copy(source, target, places.report, may_tag=never)

    assert await places.copier().digest_of(target) is None
    assert await places.copier().digest_of(target.at(image.manifest.digest)) == image.manifest.digest


async def test_a_hostile_registry_sends_a_copy_to_no_other_host(places: Places) -> None:
    """Neither the uploads to a target nor the lists of a source: the other host would get credentials and bytes."""
    source = push_image(places, "team/elsewhere:1", make_image("elsewhere"))
    async with http_registry() as other, http_registry() as target:
        target.elsewhere = places.source.elsewhere = f"http://{other.authority}"
        with pytest.raises(UpstreamFailed, match="not on its own host"):
            await places.copier(target.authority).copy(source, target.image("copies/elsewhere:1"), places.report)
        places.source.invented_referrers = 2 * places.source.page_size
        with pytest.raises(UpstreamFailed, match="on another server"):
            await places.copier().plan(source, places.at_target("copies/elsewhere:1"))

        assert not other.requests


async def test_the_digest_of_a_source_is_a_digest(places: Places) -> None:
    """A hostile source announces another text; in the record of the mirror, no service could read it."""
    image = make_image("announced")
    source = push_image(places, "team/announced:1", image)
    copies = RegistryCopies(places.client(), places.client(), CopyLimits())

    for announced in ("latest", "sha256:../../latest", ""):
        places.source.announced_digest = announced
        assert await copies.digest_of_source(source) == image.manifest.digest


async def test_a_list_of_missing_referrers_is_bounded(places: Places) -> None:
    """A hostile registry lists more referrers than an image may have; none of them exists, so none is counted."""
    source = push_image(places, "team/listed:1", make_image("listed"))
    places.source.page_size = 5000
    places.source.invented_referrers = 300
    target = places.at_target("copies/listed:1")
    asked = places.source.requests["GET manifests"]

    with pytest.raises(TooLarge, match="listed referrers"):
        await places.copier(limits=CopyLimits(documents=200)).copy(source, target, places.report)

    assert places.source.requests["GET manifests"] - asked < 20
    places.source.invented_referrers = 10_001
    with pytest.raises(TooLarge, match="more than 10000 referrers"):
        await places.copier().copy(source, target, places.report)


async def test_limits_are_checked_before_anything_is_sent(places: Places) -> None:
    """A stranger's image may have any number of documents and bytes, and any depth."""
    source, index = push_index(places, "team/limits:1", make_image("limit 1"), make_image("limit 2"))
    target = places.at_target("copies/limits:1")

    for limits in (CopyLimits(size=100), CopyLimits(documents=2), CopyLimits(document_bytes=200), CopyLimits(blobs=1)):
        with pytest.raises(TooLarge):
            await places.copier(limits=limits).copy(source, target, places.report)
    with pytest.raises(ManifestInvalid, match="nested"):
        await places.copier(limits=CopyLimits(depth=0)).copy(source, target, places.report)

    assert await places.copier().digest_of(target.at(index.digest)) is None


async def test_a_missing_platform_stops_the_copy(places: Places) -> None:
    """An incomplete copy would fail at some machine later."""
    source, _ = push_index(places, "team/incomplete:1", make_image("there"), make_image("missing"))
    missing = make_image("missing").manifest.digest
    del places.source.manifests["team/incomplete", missing]

    with pytest.raises(ManifestUnknown, match=missing):
        await places.copier().copy(source, places.at_target("copies/incomplete:1"), places.report)


async def test_a_refused_push_is_an_error_that_names_the_registry(places: Places) -> None:
    """Without credentials for the target, nothing is sent."""
    source = push_image(places, "team/refused:1", make_image("refused"))
    async with http_registry() as target:
        target.refused = {"POST uploads": 403}
        with pytest.raises(Denied, match="copies/refused"):
            await places.copier().copy(source, target.image("copies/refused:1"), places.report)


async def push_sample(places: Places, target: Reference, image: SampleImage) -> None:
    """Push *image* to the target."""
    source = push_image(places, f"{target.repository}:1", image)
    await places.copier().copy(source, target, places.report)


async def push_blob_and_manifest(places: Places, target: Reference, document: Document, layer: bytes) -> None:
    """Push *document* and its only blob to the target, as another client does."""
    await RegistryPush(places.client()).blob(target, digest_of(layer), layer)
    await push_manifest(places.client(), target, document)
