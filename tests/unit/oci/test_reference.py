"""References: which image, in which registry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell.errors import BadRequest, DigestInvalid, ManifestUnknown
from swell.oci.reference import Reference, parse_reference

DIGEST = "sha256:" + "12" * 32


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        ("registry-1.docker.io/canonical/ubuntu", "docker.io/canonical/ubuntu:latest"),
        ("library/r", "docker.io/library/r:latest"),
        ("quay.io/busybox", "quay.io/busybox:latest"),
        ("Quay.IO/busybox", "quay.io/busybox:latest"),
        ("quay.io/a/b/c/d:v1", "quay.io/a/b/c/d:v1"),
        ("host:5000/a1/b2:v1", "host:5000/a1/b2:v1"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("a__b/c-d.e---f", "docker.io/a__b/c-d.e---f:latest"),
        (f"canonical/ubuntu@{DIGEST}", f"docker.io/canonical/ubuntu@{DIGEST}"),
        (f"name:tag@{DIGEST}", f"docker.io/library/name@{DIGEST}"),
    ],
)
def test_short_names_are_completed_as_docker_does(text: str, full: str) -> None:
    """What people type is what they typed for `docker pull`; the full name reads back as itself."""
    reference = parse_reference(text)

    assert str(reference) == full
    assert parse_reference(full) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "a//b",
        "/a",
        "a/",
        "Upper/case",
        "a b",
        "a_-b",
        "-a",
        "a..b",
        "name:",
        "name:-tag",
        "name:" + "t" * 129,
        "name@",
        "name@sha256:12",
        f"name:bad tag@{DIGEST}",
        "host:port/app",
        "a" * 64 + ".io/app",
        "xn--a.io/app",
        "a." * 130 + "io/app",
        "host:0/app",
        "host:65536/app",
        "-host.io/app",
        "[1::2::3]:5000/app",
        "[1.2]/app",
        "quay.io/",
        "a" * 256,
        "name\n",
    ],
)
def test_what_is_no_image_name_is_refused(text: str) -> None:
    """It would become part of a URL to another server."""
    with pytest.raises(BadRequest):
        parse_reference(text)


@pytest.mark.parametrize("scheme", ["oras", "docker", "https"])
def test_a_scheme_is_refused_by_its_name(scheme: str) -> None:
    """Clients copy `docker://` from other tools; the message must say what to take away."""
    with pytest.raises(BadRequest, match=f"{scheme}://"):
        parse_reference(f"{scheme}://quay.io/a/b")


@given(st.text(max_size=300) | st.from_regex(r"[a-zA-Z0-9._:/@-]{0,60}"))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else comes out of it, and what is read can be read again."""
    try:
        reference = parse_reference(text)
    except BadRequest:
        return
    assert parse_reference(str(reference)) == reference


def test_another_tag_or_digest_keeps_the_repository() -> None:
    """A pull asks for a tag first, then for the digests that it leads to."""
    image = parse_reference("quay.io/a/b:v1")

    assert str(image.at(DIGEST)) == f"quay.io/a/b@{DIGEST}"
    assert image.at(DIGEST).at("v2") == Reference("quay.io", "a/b", tag="v2")
    assert (image.name, image.reference, image.at(DIGEST).reference) == ("quay.io/a/b", "v1", DIGEST)


def test_a_path_that_ends_in_no_reference_is_distinguished() -> None:
    """The distribution specification has a code for either: DIGEST_INVALID and MANIFEST_UNKNOWN."""
    image = parse_reference("quay.io/a/b")

    with pytest.raises(DigestInvalid):
        image.at("sha256:baddigeststring")
    with pytest.raises(ManifestUnknown):
        image.at("../secrets")
