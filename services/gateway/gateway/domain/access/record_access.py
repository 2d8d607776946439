"""Who may read records: the one table of read authorisation. `docs/identity.md` shows it."""

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b

from gateway.domain.access.identity import Identity


class RecordAccess(StrEnum):
    """The setting: who reads records, besides their requesters and operators."""

    ID = "id"
    """Everyone with the id, as in Wave."""
    ORGANISATION = "organisation"
    REQUESTER = "requester"
    """No one."""


class Reader(StrEnum):
    """Who reads a record; one client may be several of these."""

    REQUESTER = "requester"
    ORGANISATION = "organisation"
    ANYONE = "anyone with the id"
    OPERATOR = "operator"


class Resource(StrEnum):
    """What is read: the rows of the table."""

    CONTAINER = "container record"
    CONTAINER_STATUS = "status of a container request"
    BUILD = "build, with its recipe"
    BUILD_STATUS = "status of a build"
    BUILD_LOG = "log of a build"
    LOCK = "lock file"
    ATTESTATION = "signature, provenance, SBOM"
    BUILD_LIST = "list of the builds of an image"
    MIRROR = "mirror"
    MIRROR_LOG = "log of a mirror"
    SCAN = "scan"
    SCAN_FILE = "log, SBOM, report, findings of a scan"
    PAGE = "page of one of these"


_EVERYONE = frozenset(Reader)
_OPERATORS = frozenset({Reader.OPERATOR})
_PRIVATE: Mapping[RecordAccess, frozenset[Reader]] = {
    RecordAccess.ID: _EVERYONE,
    RecordAccess.ORGANISATION: frozenset({Reader.REQUESTER, Reader.ORGANISATION, Reader.OPERATOR}),
    RecordAccess.REQUESTER: frozenset({Reader.REQUESTER, Reader.OPERATOR}),
}
_STATUS = dict.fromkeys(RecordAccess, _EVERYONE)  # Wave's clients poll it without credentials
_LIST = {**dict.fromkeys(RecordAccess, _OPERATORS), RecordAccess.ID: _EVERYONE}

TABLE: Mapping[Resource, Mapping[RecordAccess, frozenset[Reader]]] = {
    **dict.fromkeys(Resource, _PRIVATE),
    Resource.CONTAINER_STATUS: _STATUS,
    Resource.BUILD_STATUS: _STATUS,
    Resource.BUILD_LIST: _LIST,
}

EVERYONE = "everyone"
"""The name of the requester of a record that an anonymous client has requested: it cannot be recognised again."""


def names_of(user: str, organisation: str) -> frozenset[str]:
    """The names under which a requester is stored: hashes of the *user* and of the *organisation*."""
    if not user:
        return frozenset({EVERYONE})
    names = ((Reader.REQUESTER, user), (Reader.ORGANISATION, organisation))
    return frozenset(_name(kind, name) for kind, name in names if name)


def readers_of(requesters: frozenset[str], identity: Identity) -> frozenset[Reader]:
    """What *identity* is for a record with these *requesters*, as `names_of` returns them."""
    readers = {Reader.ANYONE}
    if identity.is_operator:
        readers.add(Reader.OPERATOR)
    if EVERYONE in requesters:
        readers.add(Reader.REQUESTER)
    for kind, name in ((Reader.REQUESTER, identity.user), (Reader.ORGANISATION, identity.organisation)):
        if name and _name(kind, name) in requesters:
            readers.add(kind)
    return frozenset(readers)


def _name(kind: Reader, name: str) -> str:
    return f"{kind}:{blake2b(name.encode(), digest_size=16, person=b'swell reader').hexdigest()}"
