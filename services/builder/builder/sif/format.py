"""SIF files: the image format of Apptainer and Singularity.

A header, a table of 48 descriptors, and the objects that these describe: the definition, JSON documents and a squashfs
with the image's files. All numbers are little-endian.

Sources: the Go structs `header`, `rawDescriptor` and `partition` in https://github.com/apptainer/sif/tree/main/pkg/sif
and https://github.com/sylabs/sif/tree/main/pkg/sif
"""

import struct
import uuid
from collections.abc import Sequence
from enum import IntEnum
from hashlib import sha256

from msgspec import Struct

from builder.domain.failure import BuildFailure
from swell.oci.digest import Digest
from swell.store.records import Reason

FILE_NAME = "image.sif"

_LAUNCH = b"#!/usr/bin/env run-singularity\n"
_HEADER = struct.Struct("<32s10s3s3s16s8q")
_DESCRIPTOR = struct.Struct("<i?III7q128s384s")
_PARTITION = struct.Struct("<ii3s")
_TABLE, _SLOTS = 4096, 48
_DATA = _TABLE + _SLOTS * _DESCRIPTOR.size
_PAGE = 4096
_FIRST_GROUP = 0xF0000000 | 1
_SQUASHFS, _PRIMARY_SYSTEM = 1, 2
_ARCHITECTURES = {"amd64": b"02", "arm": b"03", "arm64": b"04"}


class Kind(IntEnum):
    """The type of an object."""

    DEFINITION = 0x4001
    PARTITION = 0x4004
    JSON = 0x4006


class Part(Struct, frozen=True):
    """An object of *size* bytes with *digest*; partitions are page-aligned, so that they can be mounted."""

    kind: Kind
    name: str
    size: int
    digest: Digest


class Head(Struct, frozen=True):
    """The bytes of a SIF file before its first object, and the offset of each object."""

    content: bytes
    offsets: tuple[int, ...]


def head_of(parts: Sequence[Part], architecture: str) -> Head:
    """Return the head of a SIF file of *parts* for *architecture* (amd64, arm64, arm).

    No clock and no chance are in it: the file's id comes from its parts, every time is 0.

    Raises:
        BuildFailure: SIF has no word for that architecture.
    """
    if (code := _ARCHITECTURES.get(architecture)) is None:
        raise BuildFailure(Reason.RECIPE, f"SIF files do not support the architecture {architecture[:40]}.")
    offsets, descriptors, end = [], b"", _DATA
    for number, part in enumerate(parts, 1):
        offset = -(-end // _PAGE) * _PAGE if part.kind is Kind.PARTITION else end
        descriptors += _descriptor(part, number, offset, offset - end + part.size, code)
        offsets.append(offset)
        end = offset + part.size
    identity = uuid.UUID(
        bytes=sha256(code + descriptors + "".join(part.digest for part in parts).encode()).digest()[:16]
    )
    counts = (_SLOTS - len(parts), _SLOTS, _TABLE, _SLOTS * _DESCRIPTOR.size, _DATA, end - _DATA)
    header = _HEADER.pack(_LAUNCH, b"SIF_MAGIC", b"01", code, identity.bytes, 0, 0, *counts)
    return Head((header.ljust(_TABLE, b"\0") + descriptors).ljust(_DATA, b"\0"), tuple(offsets))


def _descriptor(part: Part, number: int, offset: int, size_with_padding: int, code: bytes) -> bytes:
    is_partition = part.kind is Kind.PARTITION
    extra = _PARTITION.pack(_SQUASHFS, _PRIMARY_SYSTEM, code) if is_partition else b""
    place = (offset, part.size, size_with_padding)
    times_and_owners = (0, 0, 0, 0)
    return _DESCRIPTOR.pack(
        part.kind, True, number, _FIRST_GROUP, 0, *place, *times_and_owners, part.name.encode(), extra
    )
