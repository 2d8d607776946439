"""The documents of an image: an index, the manifests of all platforms, and their referrers.

Documents are read by digest, so all parts belong together even if the tag moves meanwhile.
"""

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial

from msgspec import Struct

from swell.concurrency.at_once import at_once
from swell.errors import Denied, ManifestInvalid, ManifestUnknown, TooLarge
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.reference import Reference
from swell.oci.referrers_tag import COSIGN_SUFFIXES, referrers_tag
from swell.registry.client import RegistryClient
from swell.registry.push import fetch_document
from swell.registry.referrers import fetch_referrers, subject_of

CONCURRENCY = 8


class CopyLimits(Struct, frozen=True, kw_only=True):
    """The largest image that is copied: its bytes, and the number, bytes and nesting of its documents."""

    size: int = 1 << 40
    documents: int = 1000
    document_bytes: int = 32 << 20
    blobs: int = 10_000
    depth: int = 4


class Node(Struct, frozen=True):
    """A document with the digest that names it; *tag* is that of a signature that is found by its tag only.

    `level` orders pushes: a document is pushed after those of lower levels, which it names.
    """

    document: Document
    digest: Digest
    level: int
    tag: str | None = None

    @property
    def subject(self) -> Digest | None:
        """The digest of the manifest that the document refers to."""
        return subject_of(self.document)


class ImageTree(Struct, frozen=True):
    """An image: `root` is its index or manifest, `nodes` are all documents and `blobs` all blobs, each once."""

    root: Node
    nodes: tuple[Node, ...]
    blobs: tuple[Descriptor, ...]

    @property
    def size(self) -> int:
        """The bytes of all documents and blobs."""
        return sum(node.document.size for node in self.nodes) + sum(blob.size for blob in self.blobs)

    def levels(self) -> Iterator[list[Node]]:
        """The documents in the order of pushes: lists of documents that are independent of each other."""
        for level in sorted({node.level for node in self.nodes}):
            yield [node for node in self.nodes if node.level == level]


async def read_tree(client: RegistryClient, image: Reference, limits: CopyLimits) -> ImageTree:
    """Read the documents of *image*.

    Raises:
        ManifestUnknown: the registry does not have the image, or a document that it names.
        ManifestInvalid: a document is malformed, or of an unknown kind.
        TooLarge: the image exceeds *limits*.
        Denied, TooManyRequests, UpstreamFailed: the registry refuses or fails.
    """
    reader = _TreeReader(client, image, limits)
    root = await reader.read(image, 0)
    await reader.read_referrers()
    nodes = tuple(reader.nodes.values())
    tree = ImageTree(reader.nodes[root], nodes, _blobs(nodes, limits))
    if tree.size > limits.size:
        raise TooLarge(f"{image} has {tree.size} bytes; the limit is {limits.size}")
    return tree


class _TreeReader:
    """Reads documents and counts them; requests run at once, up to `CONCURRENCY`."""

    def __init__(self, client: RegistryClient, image: Reference, limits: CopyLimits) -> None:
        self.nodes: dict[str, Node] = {}
        self._client = client
        self._image = image
        self._limits = limits
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._bytes = 0
        self._count = 0
        self._listed = 0

    async def read(self, reference: Reference, depth: int, *, tag: str | None = None) -> Digest:
        """Read the document of *reference* and those that it lists; return its digest.

        Raises:
            ManifestUnknown: the registry does not have one of them.
        """
        if depth > self._limits.depth:
            raise ManifestInvalid(f"{self._image} has indexes that are nested deeper than {self._limits.depth}")
        async with self._slots:
            document = await fetch_document(self._client, reference)
        if document is None:
            raise ManifestUnknown(f"{reference} not found")
        digest = reference.digest or document.digest
        self._count_document(document)
        if not (document.is_index or document.is_manifest):
            raise ManifestInvalid(f"{reference} is of the kind {document.kind[:100]!r}, which cannot be copied")
        children = list(dict.fromkeys(entry.digest for entry in document.manifests)) if document.is_index else []
        unread = [child for child in children if child not in self.nodes]
        await at_once(CONCURRENCY, (partial(self.read, self._image.at(child), depth + 1) for child in unread))
        level = max((self.nodes[child].level + 1 for child in children), default=0)
        self.nodes.setdefault(tag or digest, Node(document, digest, level, tag))
        return digest

    async def read_referrers(self) -> None:
        """Read the referrers of all documents, and of those referrers, up to the limit of depth."""
        subjects = [node.digest for node in self.nodes.values()]
        for depth in range(self._limits.depth):
            known = set(self.nodes)
            await at_once(CONCURRENCY, (partial(self._read_referrers_of, subject, depth) for subject in subjects))
            subjects = [node.digest for name, node in self.nodes.items() if name not in known]

    async def _read_referrers_of(self, subject: Digest, depth: int) -> None:
        image = self._image.at(subject)
        async with self._slots:
            try:
                referrers = await fetch_referrers(self._client, image)
            except Denied:
                referrers = []  # some registries refuse paths that they do not support
        self._listed += len(referrers)
        if self._listed > self._limits.documents:  # a list may name documents that do not exist
            raise TooLarge(f"{self._image} has more than {self._limits.documents} listed referrers")
        await at_once(CONCURRENCY, (partial(self._read_listed, each) for each in referrers if each not in self.nodes))
        if depth == 0:
            tags = (referrers_tag(subject) + suffix for suffix in COSIGN_SUFFIXES)
            await at_once(CONCURRENCY, (partial(self._read_tagged, tag) for tag in tags))

    async def _read_listed(self, digest: Digest) -> None:
        """Read a referrer; a list may contain deleted ones."""
        try:
            await self.read(self._image.at(digest), 1)
        except ManifestUnknown:
            return

    async def _read_tagged(self, tag: str) -> None:
        try:
            await self.read(self._image.at(tag), 1, tag=tag)
        except (Denied, ManifestUnknown):
            return

    def _count_document(self, document: Document) -> None:
        self._count += 1
        self._bytes += document.size
        if self._count > self._limits.documents or self._bytes > self._limits.document_bytes:
            raise TooLarge(
                f"{self._image} has more than {self._limits.documents} documents, or {self._limits.document_bytes} "
                "bytes of them"
            )


def _blobs(nodes: Iterable[Node], limits: CopyLimits) -> tuple[Descriptor, ...]:
    """Return the blobs of *nodes*, without those that registries do not store."""
    blobs: dict[Digest, Descriptor] = {}
    for node in nodes:
        if node.document.is_index:
            continue
        for blob in (node.document.config, *node.document.layers):
            if not blob.is_distributed:
                continue
            if blobs.setdefault(blob.digest, blob).size != blob.size:
                raise ManifestInvalid(f"{blob.digest} has two different sizes in one image")
        if len(blobs) > limits.blobs:
            raise TooLarge(f"the image has more than {limits.blobs} blobs")
    return tuple(blobs.values())
