"""An upstream registry in memory."""

import asyncio
import hashlib
from collections import Counter
from typing import Self

from msgspec import Struct

from swell.errors import BlobUnknown, ManifestUnknown, Unavailable
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.platform import Platform
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.principal import Principal
from swell.testing.images import make_image, make_index


class Pushed(Struct, frozen=True):
    """What was pushed; `config` and `platform` are an image's, an index has neither."""

    reference: Reference
    manifest: Document
    config: Document | None = None
    platform: Platform | None = None

    @property
    def digest(self) -> Digest:
        return self.manifest.digest


class FakeRegistry:
    """Keeps manifests and blobs by repository, as a registry does: a digest of one is unknown in the next.

    `asked` counts the questions by what they name; while `away`, there is no answer.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.away = False
        self._manifests: dict[str, Document] = {}
        self._blobs: dict[tuple[str, Digest], Document | bytes] = {}
        self._referrers: dict[str, tuple[Pushed, ...]] = {}
        self._pushes = 0

    def acting_for(self, principal: Principal) -> Self:  # noqa: ARG002
        """The registry itself: it needs no credentials."""
        return self

    def push(self, image: str, *, platform: str = "linux/amd64", layers: int = 1, docker: bool = False) -> Pushed:
        """Push an image that is unlike all before under the name *image*; a tag that is there moves."""
        self._pushes += 1
        reference = parse_reference(image)
        made = make_image(f"push {self._pushes}", platform=platform, layers=layers, docker=docker)
        self._blobs[reference.name, made.config.digest] = made.config
        for layer in made.layers:
            self._blobs[reference.name, layer.digest] = layer.gzipped
        self._keep(reference, made.manifest)
        return Pushed(reference, made.manifest, made.config, made.platform)

    def push_document(self, base: Pushed, document: Document) -> Pushed:
        """Push *document* under the name of *base*, whose blobs it may refer to."""
        self._keep(base.reference, document)
        return Pushed(base.reference, document, base.config, base.platform)

    def push_index(self, image: str, *children: Pushed, docker: bool = False, sha512: bool = False) -> Pushed:
        """Push an index of *children*, which may be indexes, under the name *image*; with *sha512* it names them so."""
        reference = parse_reference(image)
        index = make_index(*((child.manifest, child.platform) for child in children), docker=docker)
        if sha512:
            names = [f"sha512:{hashlib.sha512(child.manifest.content).hexdigest()}" for child in children]
            entries = zip(index.fields["manifests"], names, strict=True)
            index = index.changed(manifests=[entry | {"digest": name} for entry, name in entries])
            for child, name in zip(children, names, strict=True):
                self._manifests[str(reference.at(name))] = child.manifest
        self._keep(reference, index)
        return Pushed(reference, index)

    def lose(self, pushed: Pushed) -> None:
        """Have *pushed* no longer, under no name."""
        for name in [name for name, manifest in self._manifests.items() if manifest is pushed.manifest]:
            del self._manifests[name]

    def _keep(self, reference: Reference, document: Document) -> None:
        self._manifests[str(reference)] = self._manifests[str(reference.at(document.digest))] = document

    async def head_manifest(self, reference: Reference) -> Digest:
        return (await self.fetch_manifest(reference)).digest

    async def head_manifest_now(self, reference: Reference) -> Digest:
        return await self.head_manifest(reference)

    async def current_digest(self, reference: Reference) -> tuple[Digest, bool]:
        return await self.head_manifest(reference), False

    async def head_blob(self, reference: Reference, digest: Digest) -> int | None:
        """The size of a blob in the repository of *reference*."""
        await self._answers(str(reference.at(digest)))
        if (reference.name, digest) not in self._blobs:
            raise BlobUnknown(f"{reference.name} has no blob {digest}")
        return len(self.blob(reference, digest))

    def lose_blob(self, reference: Reference, digest: Digest) -> None:
        """Have the blob *digest* no longer in the repository of *reference*."""
        del self._blobs[reference.name, digest]

    async def fetch_manifest(self, reference: Reference) -> Document:
        await self._answers(str(reference))
        if (found := self._manifests.get(str(reference))) is None:
            raise ManifestUnknown(f"{reference} was not pushed")
        return found

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document:
        await self._answers(str(reference.at(descriptor.digest)))
        found = self._blobs.get((reference.name, descriptor.digest))
        if not isinstance(found, Document):
            raise BlobUnknown(f"{reference.name} has no config {descriptor.digest}")
        return found

    def refer(self, to: Pushed, name: str) -> Pushed:
        """Push an image that refers to *to*, as a signature does, into its repository; *name* is a tag."""
        made = self.push(f"{to.reference.name}:{name}")
        subject = str(to.reference.at(to.digest))
        before = self._referrers.get(subject, ())
        self._referrers[subject] = (*before, made)
        return made

    async def fetch_referrers(self, reference: Reference) -> Document | None:
        await self._answers(f"referrers of {reference}")
        found = self._referrers.get(str(reference))
        return make_index(*((each.manifest, each.platform) for each in found)) if found else None

    def blob(self, reference: Reference, digest: Digest) -> bytes:
        """The bytes of a config or layer in the repository of *reference*."""
        found = self._blobs[reference.name, digest]
        return found.content if isinstance(found, Document) else found

    async def _answers(self, name: str) -> None:
        self.asked[name] += 1
        await asyncio.sleep(0)  # simultaneous requests arrive before the response
        if self.away:
            raise Unavailable("the registry does not answer")
