"""Layers that were made before: the same package at the same paths is the same layer, so that it is made once."""

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

_FORMAT = 1  # to be raised when layers are written otherwise


class _Told(Struct, frozen=True):
    digest: Digest
    diff_id: Digest
    variables: dict[str, str]


class MadeLayers:
    """Layers on this disk, by what they were made from; each with the variables that its package sets."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def take(self, key: str, to: Path) -> tuple[Layer, Mapping[str, str]] | None:
        """Have the layer of *key* at *to*; None when it is not here, or not what it was."""
        note = to.with_name(f"{to.name}.{uuid.uuid4().hex}")
        try:
            if not (self._folder.link(f"{key}.told", note) and self._folder.link(key, to)):
                return None
            told = _read(note.read_bytes())
            if told and told.digest == digest_of_file(to):
                size = to.stat().st_size
                return Layer(path=to, digest=told.digest, diff_id=told.diff_id, size=size), told.variables
        finally:
            note.unlink(missing_ok=True)
        to.unlink()
        return None

    def put(self, key: str, layer: Layer, variables: Mapping[str, str]) -> None:
        content = msgspec.json.encode(_Told(layer.digest, layer.diff_id, dict(variables)))
        with self._folder.begin() as note:
            note.write(hashlib.sha256(content).hexdigest().encode() + content)
            note.flush()
            self._folder.put(f"{key}.told", Path(note.name))
        self._folder.put(key, layer.path)


def key_of(source: LockedPackage, links: Sequence[Link]) -> str:
    """What the bytes of a layer depend on: its package, the paths, and how it is written and packed."""
    made_of = [_FORMAT, LEVEL, zlib.ZLIB_RUNTIME_VERSION, source, sorted(links, key=lambda link: link.target)]
    return hashlib.sha256(msgspec.json.encode(made_of)).hexdigest()


def _read(content: bytes) -> _Told | None:
    check, told = content[:64], content[64:]
    if hashlib.sha256(told).hexdigest().encode() != check:
        return None
    return msgspec.json.decode(told, type=_Told)
