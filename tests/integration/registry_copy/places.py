"""Two registries to copy between, and images to copy."""

import os

import aiohttp

from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from swell.oci.reference import Reference, parse_reference
from swell.registry.client import RegistryClient
from swell.registry.copy import Copier, CopyLimits
from swell.registry.credentials.keyring import Keyring, parse_auth_file
from swell.registry.credentials.principal import OPERATOR
from swell.testing.http_registry import HttpRegistry
from tests.integration.registry_proxy.support import Registry

BLOB = 24 << 20


class Places:
    """Two registries, and clients with their credentials; `lines` are the reports of copies."""

    def __init__(self, source: HttpRegistry, target: Registry, session: aiohttp.ClientSession) -> None:
        self.source = source
        self.target = target
        self.lines: list[str] = []
        self._session = session

    def client(self, *authorities: str) -> RegistryClient:
        """A client with the credentials of the target, which *authorities* accept too."""
        keyring = parse_auth_file(self.target.auth_file)
        login = keyring.entries[self.target.authority]
        entries = dict.fromkeys((self.target.authority, *authorities), login)
        return RegistryClient(self._session, Keyring(entries), actions="pull,push").acting_for(OPERATOR)

    def copier(self, *authorities: str, limits: CopyLimits | None = None) -> Copier:
        return Copier(RegistryClient(self._session, Keyring()), self.client(*authorities), limits)

    async def report(self, line: str) -> None:
        self.lines.append(line)

    def at_target(self, name: str, authority: str = "") -> Reference:
        return parse_reference(f"{authority or self.target.authority}/{name}")


def large_image(size: int = BLOB) -> tuple[Document, bytes, bytes]:
    """An image with one random layer of *size* bytes: its manifest, its config and its layer."""
    config, layer = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}', os.urandom(size)
    described = [
        {"mediaType": kind, "digest": digest_of(content), "size": len(content)}
        for kind, content in ((OCI_CONFIG, config), (OCI_LAYER, layer))
    ]
    empty = Document(OCI_MANIFEST, b'{"schemaVersion": 2}')
    return empty.changed(mediaType=OCI_MANIFEST, config=described[0], layers=described[1:]), config, layer


def referring(subject: Document, note: str) -> tuple[Document, bytes]:
    """A manifest that refers to *subject*, as a signature does, and its layer."""
    layer = note.encode()
    described = {"mediaType": "application/vnd.example.note", "digest": digest_of(layer), "size": len(layer)}
    empty = Document(OCI_MANIFEST, b'{"schemaVersion": 2}')
    document = empty.changed(
        mediaType=OCI_MANIFEST,
        artifactType="application/vnd.example.note",
        config=described,
        layers=[described],
        subject={"mediaType": subject.media_type, "digest": subject.digest, "size": subject.size},
        annotations={"note": note},
    )
    return document, layer
