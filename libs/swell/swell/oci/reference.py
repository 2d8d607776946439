"""References: the registry, repository, and tag or digest of an image.

Short names are those of Docker: `ubuntu` is `docker.io/library/ubuntu:latest`.
Sources: OCI distribution-spec, "Pulling manifests",
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests; distribution, "reference",
https://pkg.go.dev/github.com/distribution/reference
"""

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Self

from msgspec import Struct, structs

from swell.errors import BadRequest, DigestInvalid, ManifestUnknown
from swell.oci.digest import Digest, parse_digest, tag_of

BLOB_SCHEME = "docker://"
DOCKER_HUB = "docker.io"
_DOCKER_HUB_ALIASES = frozenset({"index.docker.io", "registry-1.docker.io"})

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[([0-9a-f:]+)\])(?::([0-9]{{1,5}}))?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LONGEST_NAME = 255


class Reference(Struct, frozen=True):
    """An image in a registry, by tag or by digest; `parse_reference` checks the form."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        return f"{self.name}{'@' if self.digest else ':'}{self.reference}"

    @property
    def name(self) -> str:
        """`registry/repository`, without tag or digest."""
        return f"{self.registry}/{self.repository}"

    def served_tag(self, *, is_changed: bool) -> str | None:
        """Return the tag under which this image is served to clients; None for an image that only its digest names.

        An image that `is_changed`, because something is added to it, has another digest than the one in its name. It
        gets a tag made from that digest, so that no client takes it for the original.
        """
        return tag_of(self.digest) if self.digest and is_changed else self.tag

    @property
    def reference(self) -> str:
        """The digest, or else the tag: the last part of the path of the manifest."""
        return self.digest or self.tag or "latest"

    def at(self, reference: str) -> Self:
        """Return the same repository with another tag or digest.

        Raises:
            DigestInvalid: *reference* has a colon, but is not a digest.
            ManifestUnknown: no tag can be spelt so.
        """
        if ":" in reference:
            return structs.replace(self, tag=None, digest=parse_digest(reference))
        if not _TAG.fullmatch(reference):
            raise ManifestUnknown(f"'{reference[:160]}' is no tag")
        return structs.replace(self, tag=reference, digest=None)


def is_repository(text: str) -> bool:
    """Return whether *text* is the path of a repository in the grammar of the OCI: components in lower case."""
    return _REPOSITORY.fullmatch(text) is not None


@lru_cache(4096)
def parse_reference(text: str) -> Reference:
    """Parse the name of an image as `docker pull` does; a digest has priority over a tag.

    The last results are stored; an image name has less than 500 characters.

    The first component is the registry when it has a dot or a colon, or is `localhost`.

    Raises:
        BadRequest: it is no image name; the message says why.
    """
    if "://" in text:
        raise BadRequest(
            f"'{text[:160]}' must be an image name without a scheme such as {text.partition('://')[0][:20]}://"
        )
    tagged, at, digest = text.partition("@")
    name, tag = _split_tag(tagged)
    registry, repository = _split_registry(name)
    if not is_repository(repository) or len(f"{registry}/{repository}") > _LONGEST_NAME:
        raise BadRequest(f"'{text[:160]}' is no image name: expected lower-case [registry/]repository[:tag][@digest]")
    if at:
        return Reference(registry, repository, digest=_parse_digest(digest))
    return Reference(registry, repository, tag=tag or "latest")


def _split_tag(text: str) -> tuple[str, str | None]:
    parent, slash, last = text.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise BadRequest(f"'{tag[:160]}' is no tag: expected up to 128 letters, digits, '_', '.' and '-'")
    return parent + slash + last, tag if colon else None


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not (first == "localhost" or "." in first or ":" in first):
        registry, repository = DOCKER_HUB, name
    else:
        registry, repository = parse_registry(first.lower()), rest
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def parse_registry(host: str) -> str:
    """Parse `host[:port]` in lower case; the other names of Docker Hub become docker.io.

    Raises:
        BadRequest: it is not a registry.
    """
    match = _REGISTRY.fullmatch(host) if len(host) <= _LONGEST_NAME else None
    if not match or not 0 < int(match[2] or "443") < 65536 or not (_is_spelt(host) and _is_address(match[1])):
        raise BadRequest(f"'{host[:160]}' is no registry: expected host[:port]")
    return DOCKER_HUB if host in _DOCKER_HUB_ALIASES else host


def _is_spelt(host: str) -> bool:
    """Return whether *host* is valid, including encoded Unicode labels (`xn--`).

    Source: RFC 5890, section 2.3.1, https://www.rfc-editor.org/rfc/rfc5890#section-2.3.1
    """
    try:
        return "xn--" not in host or bool(host.encode().decode("idna"))
    except UnicodeError:
        return False


def _is_address(text: str | None) -> bool:
    """Return whether the text in brackets is an IPv6 address, or None."""
    try:
        return text is None or bool(IPv6Address(text))
    except ValueError:
        return False


def _parse_digest(text: str) -> Digest:
    try:
        return parse_digest(text)
    except DigestInvalid as error:
        raise BadRequest(str(error)) from error


def blob_location(reference: Reference, digest: Digest) -> str:
    """Return Wave's location of a blob: `docker://<registry>/v2/<repository>/blobs/<digest>`."""
    return f"{BLOB_SCHEME}{reference.registry}/v2/{reference.repository}/blobs/{digest}"


def parse_blob_location(location: str) -> Reference:
    """Parse a `docker://` location into the repository and the digest.

    Raises:
        BadRequest, DigestInvalid: it has another form.
    """
    registry, v2, path = location.removeprefix(BLOB_SCHEME).partition("/v2/")
    repository, blobs, digest = path.rpartition("/blobs/")
    if not (location.startswith(BLOB_SCHEME) and registry and v2 and repository and blobs):
        raise BadRequest(f"{location[:200]!r} is not of the form docker://<registry>/v2/<repository>/blobs/<digest>")
    return parse_reference(f"{registry}/{repository}@{parse_digest(digest)}")
