"""Documents that all clients read in the same way.

Container engines are written in Go, whose JSON decoder ignores the case of names and merges members that occur twice.
Swell's decoder takes the exact name, and the last member. So one document could be two images: one that is checked or
scanned, and one that runs. (The same as with the two types of CVE-2021-41190.)

Source: Go, "encoding/json", func Unmarshal, https://pkg.go.dev/encoding/json#Unmarshal
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from swell.errors import ManifestInvalid

MAX_OBJECTS = 30_000
"""The largest indexes have some hundreds; reading many more would delay other requests."""

_DOCUMENT = ("schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations")
_DESCRIPTOR = ("mediaType", "artifactType", "digest", "size", "platform", "urls", "data", "annotations")


def check_unambiguous(content: bytes, fields: Mapping[str, Any]) -> None:
    """Check the manifest or index *content*, whose JSON is *fields*.

    Raises:
        ManifestInvalid: a member occurs twice, or is written in another case.
    """
    check_members_once(content)
    check_case(fields, _DOCUMENT)
    lists = (fields.get("layers"), fields.get("manifests"), [fields.get("config"), fields.get("subject")])
    for descriptors in lists:
        for each in descriptors if isinstance(descriptors, list) else ():
            if isinstance(each, dict):
                check_case(each, _DESCRIPTOR)


def check_members_once(content: bytes) -> None:
    """Check that no object in the JSON *content* has a member twice.

    Raises:
        ManifestInvalid: one has, or there are more than 30,000 objects.
    """
    try:
        json.loads(content, object_pairs_hook=_Objects())
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid("The document cannot be read as JSON") from error


def check_case(fields: Mapping[str, Any], names: Iterable[str]) -> None:
    """Check that *fields* has none of *names* in another case.

    Raises:
        ManifestInvalid: it has one.
    """
    exact = frozenset(names)
    folded = {name.casefold() for name in exact}
    if wrong := next((name for name in fields if name not in exact and name.casefold() in folded), None):
        raise ManifestInvalid(f"The document has the member {wrong[:80]!r}, whose name clients read in any case")


class _Objects:
    """Called with the members of each object."""

    def __init__(self) -> None:
        self._left = MAX_OBJECTS

    def __call__(self, pairs: list[tuple[str, Any]]) -> None:
        self._left -= 1
        if self._left < 0:
            raise ManifestInvalid(f"The document has more than {MAX_OBJECTS} objects")
        if len(pairs) > 1 and len({name for name, _ in pairs}) < len(pairs):
            (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
            raise ManifestInvalid(f"The document has the member {twice[:80]!r} twice in one object")
