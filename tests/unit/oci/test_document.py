"""Documents: JSON as exact bytes and as what they say."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell.errors import ManifestInvalid
from swell.oci.digest import digest_of
from swell.oci.document import Document, detect
from swell.oci.media_types import ACCEPT, DOCKER_LIST, DOCKER_MANIFEST, INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST

DIGEST = digest_of(b"")
DESCRIPTOR = {"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 0}
INDEX = {"schemaVersion": 2, "manifests": [DESCRIPTOR]}
MANIFEST = {"schemaVersion": 2, "config": DESCRIPTOR, "layers": [DESCRIPTOR]}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=8,
)
known_names = st.sampled_from(
    ["mediaType", "manifests", "config", "layers", "digest", "size", "annotations", "platform"]
)
almost_documents = st.recursive(
    json_values | st.just(DESCRIPTOR),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(known_names, inner),
    max_leaves=8,
)


def document(fields: object, media_type: str = "") -> Document:
    return Document(media_type, msgspec.json.encode(fields))


def test_a_document_is_known_by_its_bytes() -> None:
    """Decoding and encoding again would make another digest; white space is part of the name."""
    content = b'{\n   "schemaVersion": 2\n}'

    assert Document(OCI_MANIFEST, content).digest == digest_of(content)
    assert Document(OCI_MANIFEST, content).size == len(content)


def test_a_change_keeps_what_we_do_not_know() -> None:
    """Publishers add fields of their own, and tools look at their order."""
    before = document({"x-first": [1.5, None, "é/"], "config": 1, "x-last": {"deep": 2**70}})

    after = before.changed(config=2, added=True)

    assert (
        after.content
        == b'{"x-first":[1.5,null,"\xc3\xa9/"],"config":2,"x-last":{"deep":1180591620717411303424},"added":true}'
    )
    assert before.fields["config"] == 1


@pytest.mark.parametrize(
    ("content_type", "fields", "kind"),
    [
        (OCI_INDEX, INDEX, OCI_INDEX),
        (f"{DOCKER_MANIFEST}; charset=utf-8", MANIFEST, DOCKER_MANIFEST),
        (None, INDEX, OCI_INDEX),
        (None, MANIFEST, OCI_MANIFEST),
        ("application/json", MANIFEST | {"mediaType": DOCKER_MANIFEST}, DOCKER_MANIFEST),
        ("text/plain", INDEX | {"mediaType": DOCKER_LIST}, DOCKER_LIST),
        (OCI_MANIFEST, MANIFEST | {"mediaType": ""}, OCI_MANIFEST),
    ],
)
def test_the_type_is_of_the_registry_or_of_the_content(
    content_type: str | None, fields: dict[str, object], kind: str
) -> None:
    """OCI documents may leave `mediaType` out, and registries answer with parameters or with plain JSON."""
    detected = detect(content_type, msgspec.json.encode(fields))

    assert detected.media_type == kind
    assert (detected.is_index, detected.is_manifest) == (kind in INDEXES, kind in MANIFESTS)


def test_a_document_of_two_types_is_refused() -> None:
    """Two clients would read two different images from one digest: CVE-2021-41190."""
    with pytest.raises(ManifestInvalid):
        detect(OCI_MANIFEST, msgspec.json.encode(MANIFEST | {"mediaType": OCI_INDEX}))
    for media_type in (None, OCI_MANIFEST, OCI_INDEX, "application/json"):
        for both in (MANIFEST | INDEX, INDEX | {"layers": []}, MANIFEST | {"manifests": []}):
            with pytest.raises(ManifestInvalid, match="members of an index"):
                detect(media_type, msgspec.json.encode(both))


@pytest.mark.parametrize(
    "content",
    [
        b'{"config":{"digest":"D","size":1},"layers":[],"layers":[{"digest":"D","size":1}]}',
        b'{"config":{"digest":"D","size":1},"layers":[],"Layers":[{"digest":"D","size":1}]}',
        b'{"config":{"digest":"D","size":1},"layers":[],"layer\xc5\xbf":[{"digest":"D","size":1}]}',
        b'{"config":{"digest":"D","size":1},"layers":[{"digest":"D","Digest":"E","size":1}]}',
        b'{"config":{"digest":"D","size":1,"digest":"E"},"layers":[]}',
        b'{"manifests":[{"digest":"D","size":1,"DIGEST":"E"}]}',
        b'{"manifests":[],"LAYERS":[]}',
        b'{"manifests":[' + b"{}," * 30_000 + b"{}]}",
        b"{" + b",".join(b'"%d":1' % number for number in range(90_000)) + b',"89999":1}',
    ],
)
def test_a_document_that_go_reads_otherwise_is_refused(content: bytes) -> None:
    """Engines, registries and scanners are written in Go: they ignore case, and merge members that occur twice.

    The search for the member that occurs twice took hours for a manifest of 4 MiB, in which the registry-proxy did
    nothing else.
    """
    with pytest.raises(ManifestInvalid):
        detect(
            None, content.replace(b'"D"', b'"sha256:%s"' % (b"d" * 64)).replace(b'"E"', b'"sha256:%s"' % (b"e" * 64))
        )


def test_names_that_differ_in_case_may_stand_in_maps() -> None:
    """Annotations and labels are maps, whose names Go compares exactly; unknown members may have any name."""
    assert detect(
        None, msgspec.json.encode(MANIFEST | {"annotations": {"a": "1", "A": "2"}, "Comment": "x"})
    ).is_manifest


@pytest.mark.parametrize(
    ("content_type", "fields"),
    [
        (DOCKER_MANIFEST, MANIFEST | {"mediaType": OCI_MANIFEST}),
        (OCI_INDEX, INDEX | {"mediaType": DOCKER_LIST}),
        (OCI_MANIFEST, MANIFEST | {"mediaType": "application/x"}),
    ],
)
def test_a_document_of_two_names_for_one_kind_is_read(content_type: str, fields: dict[str, object]) -> None:
    """Both names mean the same members; clients take the registry's word. `contradicts` has the other."""
    detected = detect(content_type, msgspec.json.encode(fields))

    assert detected.media_type == content_type
    assert detected.contradicts == fields["mediaType"]


def test_an_error_is_no_manifest() -> None:
    """Some registries send theirs with the status 200."""
    with pytest.raises(ManifestInvalid, match="an error"):
        detect("application/json", b'{"errors":[{"code":"UNAUTHORIZED"}]}')


def test_a_manifest_of_schema_1_is_neither() -> None:
    """It keeps its type, so that the server can name its type."""
    content_type = "application/vnd.docker.distribution.manifest.v1+prettyjws"

    detected = detect(content_type, b'{"schemaVersion": 1, "fsLayers": [], "history": []}')

    assert (detected.media_type, detected.is_index, detected.is_manifest) == (content_type, False, False)


def test_views_return_descriptors() -> None:
    """Sizes are bytes and digests are digests, wherever they stand."""
    assert [entry.digest for entry in document(INDEX).manifests] == [DIGEST]
    assert document(MANIFEST).config.size == 0
    assert [layer.media_type for layer in document(MANIFEST).layers] == [OCI_MANIFEST]


def test_an_index_entry_needs_no_media_type_and_layers_may_be_null() -> None:
    """Both are found in the wild: the former is tolerated by clients, the latter is how Go writes an empty list."""
    assert document({"manifests": [{"digest": DIGEST, "size": 1}]}).manifests[0].media_type == ""
    assert document(MANIFEST | {"layers": None}).layers == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"a":[' + b"[]," * 400_000 + b"[]]}",
    ],
    ids=range(11),
)
def test_what_is_no_json_object_is_invalid_and_nothing_else(content: bytes) -> None:
    """Any client can push anything to a registry; no document may crash its reader."""
    with pytest.raises(ManifestInvalid):
        _ = Document(OCI_INDEX, content).fields


@pytest.mark.parametrize(
    "content",
    [
        b'{"manifests": {}}',
        b'{"manifests": [{"digest": "sha256:12", "size": 1}]}',
        b'{"manifests": [{"digest": "sha256:' + b"ab" * 32 + b'", "size": -1}]}',
        b'{"manifests": [{"digest": "sha256:' + b"ab" * 32 + b'", "size": 9223372036854775808}]}',
        b'{"manifests": [{"digest": "sha256:' + b"ab" * 32 + b'", "size": 1, "platform": "linux"}]}',
    ],
)
def test_a_malformed_index_is_invalid_and_nothing_else(content: bytes) -> None:
    """Its digests and sizes go into URLs and answers, so they are checked first."""
    with pytest.raises(ManifestInvalid):
        _ = Document(OCI_INDEX, content).manifests


@given(almost_documents)
def test_any_json_is_read_or_invalid(value: object) -> None:
    """The same, over all shapes."""
    content = msgspec.json.encode(value)
    for read in (
        lambda: detect(None, content),
        lambda: Document("", content).manifests,
        lambda: Document("", content).config,
        lambda: Document("", content).layers,
        lambda: Document("", content).is_index,
        lambda: Document("", content).changed(x=1),
    ):
        try:
            read()
        except ManifestInvalid:
            continue


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_invalid(content: bytes) -> None:
    """The same, over what is no JSON."""
    try:
        _ = Document("", content).fields
    except ManifestInvalid:
        return


@given(st.dictionaries(st.text(max_size=10), json_values, max_size=5))
def test_fields_survive_a_change_of_others(fields: dict[str, object]) -> None:
    """With any names and values."""
    before = document(fields)

    after = before.changed(manifests=[])

    assert after.fields == before.fields | {"manifests": []}  # type: ignore[operator]
    assert [name for name in after.fields if name in before.fields] == list(before.fields)


def test_every_type_that_we_read_is_asked_for() -> None:
    """A registry converts or refuses what the client does not accept."""
    assert set(ACCEPT.split(", ")) == INDEXES | MANIFESTS
