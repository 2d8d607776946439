"""A cache of layers: a package at the same paths always gives the same layer, so it is written once."""

import hashlib
import uuid
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from builder.conda.cache import Folder
from builder.conda.layers import LEVEL, Layer
from builder.conda.model.lock import LockedPackage
from builder.conda.model.package import Link
from swell.disk import digest_of_file
from swell.oci.digest import Digest

_FORMAT = 1  # increase it when layers are written differently


class _LayerRecord(Struct, frozen=True):
    digest: Digest
    diff_id: Digest
    variables: dict[str, str]


class MadeLayers:
    """Layers on the local disk, keyed by their inputs; each with the environment variables of its package."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def take(self, key: str, to: Path) -> tuple[Layer, Mapping[str, str]] | None:
        """Link the layer of *key* to *to*; None if it is missing or damaged."""
        note = to.with_name(f"{to.name}.{uuid.uuid4().hex}")
        try:
            if not (self._folder.link(f"{key}.record", note) and self._folder.link(key, to)):
                return None
            record = _read(note.read_bytes())
            if record and record.digest == digest_of_file(to):
                size = to.stat().st_size
                return Layer(path=to, digest=record.digest, diff_id=record.diff_id, size=size), record.variables
        finally:
            note.unlink(missing_ok=True)
        to.unlink()
        return None

    def put(self, key: str, layer: Layer, variables: Mapping[str, str]) -> None:
        content = msgspec.json.encode(_LayerRecord(layer.digest, layer.diff_id, dict(variables)))
        with self._folder.begin() as note:
            note.write(hashlib.sha256(content).hexdigest().encode() + content)
            note.flush()
            self._folder.put(f"{key}.record", Path(note.name))
        self._folder.put(key, layer.path)


def key_of(source: LockedPackage, links: Sequence[Link]) -> str:
    """Return the key of a layer: a hash of its package, its paths, and the format version."""
    made_of = [_FORMAT, LEVEL, zlib.ZLIB_RUNTIME_VERSION, source, sorted(links, key=lambda link: link.target)]
    return hashlib.sha256(msgspec.json.encode(made_of)).hexdigest()


def _read(content: bytes) -> _LayerRecord | None:
    check, record = content[:64], content[64:]
    if hashlib.sha256(record).hexdigest().encode() != check:
        return None
    return msgspec.json.decode(record, type=_LayerRecord)
