"""The endpoints of a registry for pulls: parse paths, queries and conditions. No I/O.

Source: OCI distribution-spec, "Endpoints" (end-1, end-2, end-3, end-8a, end-8b, end-12a, end-12b),
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#endpoints
Source: RFC 9110, 13.1.2 "If-None-Match", https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec
from litestar.types import Scope

from swell.errors import NameInvalid, NotSupported
from swell.oci.reference import is_repository

KINDS = frozenset({"manifests", "blobs", "tags", "referrers"})
_MAX_PATH = 1024  # characters
_ENTITY_TAG = re.compile(r'(?:W/)?"([^"]*)"')


class Path(NamedTuple):
    """`/v2/wt/<token>/<name>/<kind>/<reference>`; the reference of tags is always `list`."""

    token: str
    name: str
    kind: str
    reference: str

    @property
    def repository(self) -> str:
        """The repository name that clients use."""
        return f"wt/{self.token}/{self.name}"


class MethodNotAllowed(NotSupported):
    """This registry supports pulls only."""

    status = 405
    advice = "Push to the registry that the image belongs to."


class NoCatalog(NotSupported):
    """This registry does not list its images."""

    status = 404
    advice = "Pull the image by the name in the response to the container request."


@lru_cache(4096)
def parse_path(raw_path: str) -> Path:
    """Parse a request's path, which may be percent-encoded.

    The kind is the last component but one: a repository name may contain `manifests`, `blobs`, `tags` or `referrers`.

    Raises:
        NameInvalid: the path does not name an image. The message does not repeat it: it may contain a token.
        NoCatalog: it is the path of the catalog.
    """
    path = unquote(raw_path) if "%" in raw_path else raw_path
    if path == "/v2/_catalog":
        raise NoCatalog
    parts = path.split("/")
    if len(parts) < 7 or parts[:3] != ["", "v2", "wt"] or parts[-2] not in KINDS or len(path) > _MAX_PATH:
        raise NameInvalid("the path does not name an image of this server: expected /v2/wt/<token>/<name>/…")
    parsed = Path(parts[3], "/".join(parts[4:-2]), parts[-2], parts[-1])
    if not is_repository(parsed.name):
        raise NameInvalid("the image's name is malformed: it needs lower-case components, separated by slashes")
    if parsed.kind == "tags" and parsed.reference != "list":
        raise NameInvalid("the only endpoint of tags is tags/list")
    return parsed


def parse_query(query: bytes) -> dict[str, str]:
    """The parameters of a query, the first of each name; malformed parts are ignored."""
    pairs = parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True)
    return dict(reversed(pairs))


def page(tags: Sequence[str], query: dict[str, str]) -> list[str]:
    """The *tags*, which are sorted, after `last`; at most `n` if that is a number."""
    size = query.get("n", "")
    limit = int(size) if size.isascii() and size.isdigit() and len(size) < 10 else len(tags)
    return [tag for tag in tags if tag > query.get("last", "")][:limit]


def filter_referrers(content: bytes, artifact_type: str) -> bytes:
    """The image index *content* of referrers, with the entries of *artifact_type* only."""
    fields = msgspec.json.decode(content)
    entries = [entry for entry in fields["manifests"] if entry.get("artifactType") == artifact_type]
    return msgspec.json.encode(fields | {"manifests": entries})


def matches(condition: str, digest: str) -> bool:
    """Whether the `If-None-Match` *condition* is `*` or contains *digest* as an entity tag, weak or strong."""
    return condition.strip() == "*" or digest in _ENTITY_TAG.findall(condition)


def header(scope: Scope, name: bytes) -> str | None:
    """Return the value of a request's header, repeated ones joined by commas; None when it is missing."""
    values = [value for key, value in scope["headers"] if key == name]
    return b",".join(values).decode("latin-1") if values else None
