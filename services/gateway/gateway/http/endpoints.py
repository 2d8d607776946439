"""The end-points of a registry that is for pulling: what a path, a query and a condition ask for. Pure.

Source: distribution-spec, "Endpoints" (end-1, end-2, end-3, end-8a, end-8b, end-12a, end-12b); RFC 9110, 13.1.2.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec

from swell.errors import NameInvalid, NotSupported
from swell.oci.reference import is_repository

KINDS = frozenset({"manifests", "blobs", "tags", "referrers"})
_LONGEST = 1024
_ENTITY_TAG = re.compile(r'(?:W/)?"([^"]*)"')


class Path(NamedTuple):
    """`/v2/wt/<token>/<name>/<kind>/<reference>`; the reference of tags is always `list`."""

    token: str
    name: str
    kind: str
    reference: str

    @property
    def repository(self) -> str:
        """The name of the image, as this server's clients say it."""
        return f"wt/{self.token}/{self.name}"


class MethodNotAllowed(NotSupported):
    """This registry is for pulling only."""

    status = 405
    advice = "Push to the registry that the image belongs to."


class NoCatalog(NotSupported):
    """This registry does not tell which images it has."""

    status = 404
    advice = "Ask for the image by the name that you were given."


def parse_path(raw_path: str) -> Path:
    """Take a request's path apart, percent-encoded or not; the last words but one and two count, as a name may hold
    components that are called `manifests`, `blobs`, `tags` or `referrers`.

    Raises:
        NameInvalid: it is no path of an image. It is not repeated: there may be a token in it.
        NoCatalog: it is that of the catalogue.
    """
    path = unquote(raw_path) if "%" in raw_path else raw_path
    if path == "/v2/_catalog":
        raise NoCatalog
    parts = path.split("/")
    if len(parts) < 7 or parts[:3] != ["", "v2", "wt"] or parts[-2] not in KINDS or len(path) > _LONGEST:
        raise NameInvalid("the path does not name an image of this server: expected /v2/wt/<token>/<name>/…")
    found = Path(parts[3], "/".join(parts[4:-2]), parts[-2], parts[-1])
    if not is_repository(found.name):
        raise NameInvalid("the image's name is not spelt as names are: lower-case components between slashes")
    if found.kind == "tags" and found.reference != "list":
        raise NameInvalid("nothing is known of tags but their list")
    return found


def parse_query(query: bytes) -> dict[str, str]:
    """The parameters of a query, the first of each name; what is no parameter is left out."""
    pairs = parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True)
    return dict(reversed(pairs))


def page(tags: Sequence[str], query: dict[str, str]) -> list[str]:
    """Of sorted *tags* those after `last`, at most `n`; an `n` that is no number counts as none."""
    wanted = query.get("n", "")
    most = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 10 else len(tags)
    return [tag for tag in tags if tag > query.get("last", "")][:most]


def of_type(content: bytes, artifact_type: str) -> bytes:
    """The index *content*, which is one of referrers, with those entries only that are of *artifact_type*."""
    fields = msgspec.json.decode(content)
    kept = [entry for entry in fields["manifests"] if entry.get("artifactType") == artifact_type]
    return msgspec.json.encode(fields | {"manifests": kept})


def has_it(condition: str, digest: str) -> bool:
    """Whether the `If-None-Match` *condition* names what has *digest*: `*`, or one of its entity tags, weak or not."""
    return condition.strip() == "*" or digest in _ENTITY_TAG.findall(condition)
