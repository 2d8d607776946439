"""The parts "Pull" and "Content Discovery" of the OCI distribution specification, version 1.1, through tokens.

Each test names its end-point; MUST and SHOULD are those of the specification. The subjects are an augmented image, an
image without additions, indexes of both kinds, and an image that was granted by its digest.

Source: OCI distribution-spec v1.1, https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""

import pytest
from msgspec import Struct

from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX
from swell.signing.statements import IN_TOTO
from tests.e2e.busybox import REPOSITORY, document_of, push, read, refer, root
from tests.e2e.client import Swell
from tests.e2e.raw import Answer, ask
from tests.e2e.upstreams import Upstreams

CODES = {
    *("BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"),
    *("MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED"),
    *("DENIED", "UNSUPPORTED", "TOOMANYREQUESTS"),
}
ADDED = {"env": ["CONFORMS=yes"], "cmd": ["env"]}
UNKNOWN = digest_of(b"never pushed")
FORBIDDEN_HEADERS = {"www-authenticate", "set-cookie", "transfer-encoding", "content-encoding", "upgrade"}


class Subject(Struct, frozen=True):
    """An image behind a token: its path, its reference and its documents, the image itself first."""

    swell: Swell
    repository: str
    reference: str
    documents: tuple[Document, ...]

    @property
    def blobs(self) -> set[str]:
        manifests = [each for each in self.documents if not each.is_index]
        return {descriptor.digest for each in manifests for descriptor in (each.config, *each.layers)}

    async def ask(self, method: str, path: str, **headers: str) -> Answer:
        """Return the response for *path* below the repository; redirects are not followed."""
        answer = await ask(self.swell, method, f"/v2/{self.repository}/{path}", None, **headers)
        assert {name.lower() for name in answer.headers}.isdisjoint(FORBIDDEN_HEADERS)
        return answer

    async def refused(self, method: str, path: str, *statuses: int) -> Answer:
        """Return the response for *path*, which must be an error as the specification defines it."""
        answer = await self.ask(method, path)
        assert answer.status in statuses, answer
        if method != "HEAD":
            assert answer.headers["Content-Type"] == "application/json"
            assert {error["code"] for error in answer.json["errors"]} <= CODES
        return answer


SUBJECTS = {
    "augmented": ("oci", ADDED),
    "augmented docker": ("docker", ADDED),
    "augmented index": ("oci-index", ADDED),
    "plain": ("oci", None),
    "plain index": ("docker-list", None),
    "by digest": (document_of("oci-index").digest, None),
}


@pytest.fixture(scope="module", params=SUBJECTS)
async def subject(request: pytest.FixtureRequest, swell: Swell, upstreams: Upstreams) -> Subject:
    """Each of the images with all its documents, read as a client reads them."""
    reference, config = SUBJECTS[request.param]
    separator = "@" if ":" in reference else ":"
    additions = {"containerConfig": config} if config else {}
    answer = await swell.submit(containerImage=f"{upstreams.open}/{REPOSITORY}{separator}{reference}", **additions)
    repository = f"wt/{answer['containerToken']}/{REPOSITORY}"
    return Subject(swell, repository, reference, tuple(await documents(swell, repository, reference)))


async def documents(swell: Swell, repository: str, reference: str) -> list[Document]:
    answer = await ask(swell, "GET", f"/v2/{repository}/manifests/{reference}")
    document = Document(answer.headers["Content-Type"], answer.body)
    children = document.manifests if document.is_index else ()
    return [document, *[each for child in children for each in await documents(swell, repository, child.digest)]]


async def test_end_1_the_api_is_there(swell: Swell) -> None:
    """MUST: 200."""
    for path in ("/v2/", "/v2"):
        for method in ("GET", "HEAD"):
            answer = await ask(swell, method, path)
            assert (answer.status, answer.headers["Docker-Distribution-Api-Version"]) == (200, "registry/2.0")


async def test_end_2_get_returns_a_blob(subject: Subject) -> None:
    """MUST: 200 and the bytes of that digest, a redirect is allowed. SHOULD: `Docker-Content-Digest`."""
    for digest in subject.blobs:
        first = await subject.ask("GET", f"blobs/{digest}")
        assert (first.status, first.headers["Docker-Content-Digest"]) == (307, digest)
        assert digest_of(await subject.swell.bytes(f"/v2/{subject.repository}/blobs/{digest}")) == digest


async def test_end_2_head_describes_a_blob(subject: Subject) -> None:
    """MUST: 200. SHOULD: the length of the GET response, and its digest."""
    for digest in subject.blobs:
        head = await subject.ask("HEAD", f"blobs/{digest}")
        content = await subject.swell.bytes(f"/v2/{subject.repository}/blobs/{digest}")
        assert (head.status, head.body, int(head.headers["Content-Length"])) == (200, b"", len(content))
        assert head.headers["Docker-Content-Digest"] == digest
        assert head.headers["Content-Type"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_end_2_an_unknown_blob_is_not_found(subject: Subject, method: str) -> None:
    """MUST: 404; an invalid digest may have its own error."""
    await subject.refused(method, f"blobs/{UNKNOWN}", 404)
    await subject.refused(method, "blobs/sha256:baddigeststring", 400, 404)


async def test_end_3_get_returns_a_manifest(subject: Subject) -> None:
    """MUST: 200 by tag and by digest, with its media type. SHOULD: `Docker-Content-Digest` of the bytes."""
    for reference, document in named(subject):
        answer = await subject.ask("GET", f"manifests/{reference}")
        assert (answer.status, answer.body) == (200, document.content)
        assert answer.headers["Docker-Content-Digest"] == digest_of(answer.body) == document.digest
        assert answer.headers["Content-Type"] == answer.json["mediaType"]
        assert int(answer.headers["Content-Length"]) == len(answer.body)


async def test_end_3_head_agrees_with_get(subject: Subject) -> None:
    """MUST: 200 without a body. SHOULD: length and digest."""
    for reference, _ in named(subject):
        got, head = [await subject.ask(method, f"manifests/{reference}") for method in ("GET", "HEAD")]
        assert (head.status, head.body) == (200, b"")
        for name in ("Content-Length", "Content-Type", "Docker-Content-Digest", "ETag"):
            assert head.headers[name] == got.headers[name]


async def test_end_3_the_accept_header_changes_nothing(subject: Subject) -> None:
    """An image has one form here, and its digest names that form."""
    for accept in (OCI_INDEX, "application/vnd.docker.distribution.manifest.v1+json", "text/html", "*/*"):
        answer = await subject.ask("GET", f"manifests/{subject.reference}", Accept=accept)
        assert (answer.status, answer.body) == (200, subject.documents[0].content)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_end_3_a_matching_if_none_match_gets_304(subject: Subject, method: str) -> None:
    """RFC 9110, section 13.1.2: 304 if `If-None-Match` names the current manifest."""
    for reference, document in named(subject):
        headers = {"If-None-Match": f'"other", W/"{document.digest}"'}
        answer = await subject.ask(method, f"manifests/{reference}", **headers)
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", f'"{document.digest}"')


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_end_3_an_unknown_manifest_is_not_found(subject: Subject, method: str) -> None:
    """MUST: 404, by tag and by digest; an invalid digest may have its own error."""
    await subject.refused(method, f"manifests/{UNKNOWN}", 404)
    await subject.refused(method, "manifests/no-such-tag", 404)
    await subject.refused(method, "manifests/sha256:baddigeststring", 400, 404)


async def test_end_8a_the_tags_are_a_sorted_list(subject: Subject) -> None:
    """MUST: 200, JSON with the requested name and the tags in lexical order; here the tag that the token opens."""
    for query in ("", "?", "?unknown=1&n="):
        answer = await subject.ask("GET", f"tags/list{query}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.json == {"name": subject.repository, "tags": tags(subject)}
        assert "Link" not in answer.headers
    head = await subject.ask("HEAD", "tags/list")
    assert (head.status, head.body) == (200, b"")


async def test_end_8b_the_tags_come_in_pages(subject: Subject) -> None:
    """MUST: at most `n` tags; none and no `Link` for 0; only tags after `last`."""
    for query, expected in (
        ("n=1", tags(subject)),
        ("n=0", []),
        ("n=1000&last=", tags(subject)),
        (f"last={subject.reference}", []),
        ("n=5&last=zzzz", []),
    ):
        answer = await subject.ask("GET", f"tags/list?{query}")
        assert (answer.status, answer.json["tags"]) == (200, expected)
        assert "Link" not in answer.headers


async def test_end_12a_referrers_are_an_index(subject: Subject) -> None:
    """MUST: 200 and an OCI index; it is empty if no document refers to the digest, known or unknown.

    Only the provenance of an augmented image refers to one of these; it can be pulled.
    """
    for digest in (*(each.digest for each in subject.documents), UNKNOWN):
        answer = await subject.ask("GET", f"referrers/{digest}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, OCI_INDEX)
        assert answer.json | {"manifests": []} == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        assert "OCI-Filters-Applied" not in answer.headers
        for entry in answer.json["manifests"]:
            manifest = (await subject.ask("GET", f"manifests/{entry['digest']}")).json
            assert (entry["artifactType"], manifest["subject"]["digest"]) == (IN_TOTO, digest)
            (layer,) = manifest["layers"]
            content = await subject.swell.bytes(f"/v2/{subject.repository}/blobs/{layer['digest']}")
            assert digest_of(content) == layer["digest"] and digest != UNKNOWN


async def test_end_12a_referrers_of_an_invalid_digest_are_refused(subject: Subject) -> None:
    """MUST: 400."""
    await subject.refused("GET", "referrers/sha256:baddigeststring", 400)


async def test_end_12b_an_applied_filter_is_in_the_headers(subject: Subject) -> None:
    """MUST: `OCI-Filters-Applied`, if the server filters."""
    answer = await subject.ask("GET", f"referrers/{UNKNOWN}?artifactType=application/vnd.example+type")
    assert (answer.status, answer.headers["OCI-Filters-Applied"]) == (200, "artifactType")
    assert answer.json["manifests"] == []


async def test_end_12_referrers_of_the_upstream_can_be_pulled(swell: Swell, upstreams: Upstreams) -> None:
    """A signature of an image without additions is listed and filtered, and can be pulled with all its parts."""
    image = await push(f"{upstreams.open}/signed/tool:1", root(), Cmd=["true"])
    base = Document("", await read(image))
    signature = Document("", await read(await push(f"{upstreams.open}/signed/tool:sig", root(), Cmd=["false"])))
    await refer(image, base, signature, "application/vnd.example.signature")
    answer = await swell.submit(containerImage=image)
    subject = Subject(swell, f"wt/{answer['containerToken']}/signed/tool", "1", (base,))

    await subject.refused("GET", f"manifests/{signature.digest}", 404)  # the image does not refer to it
    listed = (await subject.ask("GET", f"referrers/{base.digest}")).json["manifests"]
    filtered = await subject.ask("GET", f"referrers/{base.digest}?artifactType=application/vnd.example.other")

    assert [each["digest"] for each in listed] == [signature.digest]
    assert (filtered.json["manifests"], filtered.headers["OCI-Filters-Applied"]) == ([], "artifactType")
    assert (await subject.ask("GET", f"manifests/{signature.digest}")).body == signature.content
    for descriptor in (signature.config, *signature.layers):
        content = await swell.bytes(f"/v2/{subject.repository}/blobs/{descriptor.digest}")
        assert digest_of(content) == descriptor.digest


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "blobs/uploads/"),
        ("POST", f"blobs/uploads/?digest={UNKNOWN}"),
        ("POST", f"blobs/uploads/?mount={UNKNOWN}&from=library/other"),
        ("PATCH", "blobs/uploads/1"),
        ("PUT", f"blobs/uploads/1?digest={UNKNOWN}"),
        ("PUT", "manifests/docker"),
        ("DELETE", "manifests/docker"),
        ("DELETE", f"manifests/{UNKNOWN}"),
        ("DELETE", f"blobs/{UNKNOWN}"),
    ],
)
async def test_end_4_to_7_9_to_11_nothing_can_be_pushed_or_deleted(subject: Subject, method: str, path: str) -> None:
    """The specification names 405 for unsupported operations; RFC 9110: `Allow` MUST be in the response."""
    answer = await subject.refused(method, path, 405)
    assert answer.headers["Allow"] == "GET, HEAD"
    assert answer.json["errors"][0]["code"] == "UNSUPPORTED"


async def test_the_catalogue_is_not_supported(swell: Swell) -> None:
    """The specification reserves the path. Here it would list images of other users."""
    answer = await ask(swell, "GET", "/v2/_catalog")
    assert (answer.status, answer.json["errors"][0]["code"]) == (404, "UNSUPPORTED")


async def test_names_with_many_and_unusual_components_can_be_pulled(swell: Swell, upstreams: Upstreams) -> None:
    """The grammar allows components of one letter, and words that are part of the API's paths."""
    for name in ("x", "a/b/c/d/e/f", "acme/manifests/blobs/tags/list", "acme/tags/list/referrers", "a__b/c-d/e.f"):
        image = await push(f"{upstreams.open}/{name}:1", root(), Cmd=["true"])
        answer = await swell.submit(containerImage=image)
        repository = f"wt/{answer['containerToken']}/{name}"
        (manifest,) = await documents(swell, repository, "1")
        assert manifest.content == await read(image)
        assert (
            digest_of(await swell.bytes(f"/v2/{repository}/blobs/{manifest.config.digest}")) == manifest.config.digest
        )
        assert (await swell.get(f"/v2/{repository}/tags/list"))[1] == {"name": repository, "tags": ["1"]}


def named(subject: Subject) -> list[tuple[str, Document]]:
    """Return every reference that leads to a document of the image."""
    by_digest = [(str(document.digest), document) for document in subject.documents]
    return [(subject.reference, subject.documents[0]), *by_digest]


def tags(subject: Subject) -> list[str]:
    return [] if ":" in subject.reference else [subject.reference]
