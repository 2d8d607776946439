"""Copy an image: blobs, then documents by digest, then the tag, which thus never names an incomplete image.

A copy that was interrupted is repeated from the start; what the target has already is not sent again.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial

from msgspec import Struct

from swell.concurrency.at_once import at_once
from swell.errors import UpstreamFailed
from swell.net.outbound import follow
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.media_types import ACCEPT
from swell.oci.reference import Reference
from swell.registry.client import RegistryClient
from swell.registry.copy.tree import CopyLimits, ImageTree, Node, read_tree
from swell.registry.copy.upload import send_blob
from swell.registry.pull import read_blob
from swell.registry.push import fetch_document, has_blob, mount_blob
from swell.registry.referrers import fetch_referrers, push_manifest

BLOBS_AT_ONCE = 4
REQUESTS_AT_ONCE = 8
MAX_SENT = 100_000  # blobs in the target registry that later copies may mount

Lists = Mapping[Digest, frozenset[Digest]]
"""The referrers that a registry lists, by their subject."""

Report = Callable[[str], Awaitable[None]]
"""Receives a line about the progress of a copy."""


class CopyPlan(Struct, frozen=True):
    """What a copy would send: documents and blobs that the target lacks. `size` is their bytes, `total` all bytes.

    `tag` says whether the tag of the target has to be set.
    """

    tree: ImageTree
    documents: tuple[Node, ...]
    blobs: tuple[Descriptor, ...]
    tag: bool

    @property
    def digest(self) -> Digest:
        return self.tree.root.digest

    @property
    def size(self) -> int:
        return sum(node.document.size for node in self.documents) + sum(blob.size for blob in self.blobs)

    @property
    def total(self) -> int:
        return self.tree.size


class CopyResult(Struct, frozen=True):
    """The digest of the copied image; the bytes that were sent, and the bytes of the whole image."""

    digest: Digest
    sent: int
    total: int


class CopyProgress:
    """Counts the bytes of a copy while it runs: `sent` of `expected`."""

    def __init__(self) -> None:
        self.sent = 0
        self.expected = 0


class Copier:
    """Copies images with the credentials of two clients; *target* requests tokens with the actions `pull,push`.

    Blobs that it has sent to one repository are mounted into others of the same registry. Those that it has only found
    there are not: a source could name the layers of a repository to which the client may push, but not read. Its
    methods raise:

        ManifestUnknown, ManifestInvalid, BlobUnknown: the source is missing or incomplete, or of an unknown format.
        TooLarge: the image exceeds *limits*.
        Denied, TooManyRequests, UpstreamFailed: a registry refuses or fails; the message names it.
    """

    def __init__(self, source: RegistryClient, target: RegistryClient, limits: CopyLimits | None = None) -> None:
        self._source = source
        self._target = target
        self._limits = limits or CopyLimits()
        self._sent: dict[tuple[str, Digest], Reference] = {}

    async def plan(self, source: Reference, target: Reference) -> CopyPlan:
        """Return what copying *source* to *target* would send; nothing is changed."""
        tree = await read_tree(self._source, source, self._limits)
        lists = await self._lists(target, tree)
        has_documents = await at_once(
            REQUESTS_AT_ONCE, (partial(self._has_document, target, node, lists) for node in tree.nodes)
        )
        has_blobs = await at_once(
            REQUESTS_AT_ONCE, (partial(has_blob, self._target, target, blob.digest) for blob in tree.blobs)
        )
        return CopyPlan(
            tree,
            tuple(node for node, exists in zip(tree.nodes, has_documents, strict=True) if not exists),
            tuple(blob for blob, exists in zip(tree.blobs, has_blobs, strict=True) if not exists),
            await self.digest_of(target) != tree.root.digest,
        )

    async def digest_of(self, target: Reference) -> Digest | None:
        """Return the digest of *target* as the registry has it now; None if it is missing."""
        document = await fetch_document(self._target, target)
        return (target.digest or document.digest) if document else None

    async def copy(
        self,
        source: Reference,
        target: Reference,
        report: Report,
        *,
        progress: CopyProgress | None = None,
        may_tag: Callable[[], Awaitable[bool]] | None = None,
    ) -> CopyResult:
        """Copy *source* to *target*, and verify that *target* then has the digest of *source*.

        If *may_tag* returns false just before the tag is set, the image is stored by its digest only.
        """
        progress = progress or CopyProgress()
        plan = await self.plan(source, target)
        progress.expected = plan.size
        await report(
            f"{source} is {plan.digest}: {len(plan.tree.nodes)} documents, {len(plan.tree.blobs)} blobs, {plan.total} "
            f"bytes; {plan.size} bytes are missing at the target"
        )
        send = partial(self._send_blob, source, target, report=report, progress=progress)
        await at_once(BLOBS_AT_ONCE, (partial(send, blob) for blob in plan.blobs))
        await self._push_documents(plan, target, progress)
        tagged = target.at(plan.digest)
        if target.digest is None and (may_tag is None or await may_tag()):
            await push_manifest(self._target, target, plan.tree.root.document)
            tagged = target
        await self._verify(plan, tagged)
        return CopyResult(plan.digest, progress.sent, plan.total)

    async def _push_documents(self, plan: CopyPlan, target: Reference, progress: CopyProgress) -> None:
        missing = {id(node) for node in plan.documents}
        for level in plan.tree.levels():
            nodes = [node for node in level if id(node) in missing]
            await at_once(REQUESTS_AT_ONCE, (partial(self._push, target, node) for node in nodes))
            progress.sent += sum(node.document.size for node in nodes)

    async def _push(self, target: Reference, node: Node) -> None:
        await push_manifest(self._target, target.at(node.tag or node.digest), node.document)

    async def _send_blob(
        self, source: Reference, target: Reference, blob: Descriptor, *, report: Report, progress: CopyProgress
    ) -> None:
        sent = source if source.registry == target.registry else self._sent.get((target.registry, blob.digest))
        location = None
        if sent and sent.repository != target.repository:
            location = await mount_blob(self._target, target, blob.digest, sent)
            if location is None:
                progress.expected -= blob.size
                await report(f"{blob.digest} mounted from {sent.name}")
                return
        counted = 0

        async def read(start: int) -> AsyncGenerator[bytes, None]:
            nonlocal counted
            progress.sent -= max(0, counted - start)
            counted = start
            async for piece in read_blob(self._source, source, blob, start):
                counted += len(piece)
                progress.sent += len(piece)
                yield piece

        await send_blob(self._target, target, blob, read, location)
        if len(self._sent) < MAX_SENT:
            self._sent[target.registry, blob.digest] = target
        await report(f"{blob.digest} copied, {blob.size} bytes")

    async def _lists(self, target: Reference, tree: ImageTree) -> Lists:
        """Return the referrers that the target lists for each subject in *tree*."""
        subjects = list(dict.fromkeys(filter(None, (node.subject for node in tree.nodes))))
        lists = await at_once(
            REQUESTS_AT_ONCE, (partial(fetch_referrers, self._target, target.at(subject)) for subject in subjects)
        )
        return {subject: frozenset(listed) for subject, listed in zip(subjects, lists, strict=True)}

    async def _has_document(self, target: Reference, node: Node, lists: Lists) -> bool:
        """Return whether *target* has the document of *node*, and lists it if it is a referrer."""
        path = f"manifests/{node.tag or node.digest}"
        response = await self._target.ask(follow, "HEAD", target, path, {"Accept": ACCEPT})
        response.release()
        if response.status != 200:
            return False
        if node.tag:
            return response.headers.get("Docker-Content-Digest") == node.digest
        return node.subject is None or node.digest in lists[node.subject]

    async def _verify(self, plan: CopyPlan, target: Reference) -> None:
        if await self.digest_of(target) != plan.digest:
            raise UpstreamFailed(f"{target} does not have the digest {plan.digest} after the copy")
        lists = await self._lists(target, plan.tree)
        stored = await at_once(
            REQUESTS_AT_ONCE, (partial(self._has_document, target, node, lists) for node in plan.documents)
        )
        for node, is_stored in zip(plan.documents, stored, strict=True):
            if not is_stored:
                raise UpstreamFailed(f"{target.name} does not have, or does not list, {node.digest} after the copy")
