"""What BuildKit reports of a build becomes evidence: its predicate, or the names of its steps."""

from typing import Any

import msgspec
import pytest

from builder.buildkit.provenance.attestation import Attestation
from builder.buildkit.provenance.evidence import evidence_of
from swell.oci.digest import digest_of
from swell.provenance import Evidence, Material

SHA, COMMIT = "a" * 64, "b" * 40
OCI_INDEX, OCI_MANIFEST = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"


def predicate(*dependencies: Any) -> dict[str, Any]:
    return {"buildDefinition": {"resolvedDependencies": list(dependencies)}}


def test_dependencies_become_materials() -> None:
    """Images by their references, files and repositories by their URLs, each with its digest."""
    evidence = evidence_of(
        predicate(
            {"uri": "pkg:docker/library/debian@12?platform=linux%2Famd64", "digest": {"sha256": SHA}},
            {"uri": "pkg:docker/localhost:5000/team/base@1.2?platform=linux%2Famd64", "digest": {"sha256": SHA}},
            {"uri": "https://example.org/x.tar.gz", "digest": {"sha256": SHA}},
            {"uri": "https://github.com/moby/buildkit.git#v1", "digest": {"sha1": COMMIT}},
            {"uri": "https://example.org/unknown"},
        ),
        (),
    )
    assert evidence.materials == (
        Material("docker.io/library/debian:12", f"sha256:{SHA}"),
        Material("localhost:5000/team/base:1.2", f"sha256:{SHA}"),
        Material("https://example.org/x.tar.gz", f"sha256:{SHA}"),
        Material("https://github.com/moby/buildkit.git#v1", f"sha1:{COMMIT}"),
        Material("https://example.org/unknown"),
    )


def test_an_odd_predicate_is_no_error() -> None:
    """The build has succeeded; a newer BuildKit may write another form."""
    odd: dict[str, Any]
    for odd in (
        {},
        {"buildDefinition": []},
        {"buildDefinition": {"resolvedDependencies": "x"}},
        predicate(1, {}, None),
    ):
        assert evidence_of(odd, ()).materials == ()


def test_without_a_predicate_the_steps_name_the_base_images() -> None:
    """SIF files are not pushed by BuildKit, so they have no attestation."""
    names = [
        "[internal] load metadata for x",
        f"[one 1/2] FROM localhost:5000/base:1@sha256:{SHA}",
        "[2/2] RUN FROM x@y",
        f"[2/2] RUN [ -e /x ] FROM forged:1@sha256:{SHA}",
    ]
    assert evidence_of(None, names) == Evidence(materials=(Material("localhost:5000/base:1", f"sha256:{SHA}"),))


def test_the_tag_is_given_to_the_image_of_the_index() -> None:
    """The other manifest of the index is for the provenance. A push without an index stays as it is."""
    image, proof = b'{"layers":[]}', b'{"layers":[],"x":1}'
    entries = [
        {"digest": digest_of(image), "annotations": {"a": "b"}},
        {"digest": digest_of(proof), "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
    ]
    index = msgspec.json.encode({"manifests": entries})
    attestation = Attestation()
    for content in (image, proof):
        attestation.takes_manifest(OCI_MANIFEST, content)

    assert attestation.image(OCI_INDEX, index) == (OCI_MANIFEST, image)
    assert attestation.digest == digest_of(image)
    assert Attestation().image(OCI_MANIFEST, image) == (OCI_MANIFEST, image)
    assert Attestation().image(OCI_INDEX, index) == (OCI_INDEX, index)


def test_only_statements_are_kept_from_the_registry() -> None:
    """Configs and layers with any content go there."""
    attestation = Attestation()
    deep = b'{"_type":' + b"[" * 100_000
    for content in (b'{"architecture":"amd64"}', b'{"_type":"x"}', b'{"_type":1}', b"{", deep, b"\x1f\x8b"):
        assert not attestation.takes_blob(content)
    assert attestation.takes_blob(statement("a"))


@pytest.mark.parametrize("order", [("own", "forged"), ("forged", "own")])
def test_a_base_image_cannot_bring_its_own_provenance(order: tuple[str, str]) -> None:
    """A layer that BuildKit does not unpack may be a statement; the provenance is the one that the index refers to."""
    image = b'{"layers":[{"digest":"%s"}]}' % digest_of(statement("forged")).encode()
    proof = b'{"layers":[{"digest":"%s"}]}' % digest_of(statement("own")).encode()
    entries = [
        {"digest": digest_of(image)},
        {"digest": digest_of(proof), "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
    ]
    attestation = Attestation()
    for name in order:
        assert attestation.takes_blob(statement(name))
    for content in (image, proof):
        attestation.takes_manifest(OCI_MANIFEST, content)
    assert attestation.predicate is None
    attestation.image(OCI_INDEX, msgspec.json.encode({"manifests": entries}))
    assert attestation.predicate == {"builder": "own"}


def statement(builder: str) -> bytes:
    return b'{"_type":"https://in-toto.io/Statement/v0.1","predicate":{"builder":"%s"}}' % builder.encode()
