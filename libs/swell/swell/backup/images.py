"""The images of this server's own repositories that have a record of their build: manifests, blobs and referrers."""

from collections.abc import AsyncIterator

from msgspec import Struct
from redis.asyncio import Redis

from swell.backup.folder import BackupFolder, RecordWriter
from swell.errors import BadRequest, ManifestUnknown
from swell.oci.digest import Digest, digest_of
from swell.oci.document import detect
from swell.oci.reference import Reference, parse_reference
from swell.registry.client import RegistryClient
from swell.registry.copy.tree import CopyLimits, read_tree
from swell.registry.credentials.principal import CredentialRules
from swell.registry.pull import read_blob
from swell.registry.push import RegistryPush, fetch_document
from swell.registry.referrers import push_manifest
from swell.store import keys
from swell.store.connections.redis import text, translated


class StoredDocument(Struct, frozen=True, array_like=True):
    """A manifest or index; *tag* is that of a signature that is found by its tag only."""

    digest: Digest
    media_type: str
    level: int
    tag: str | None


class ImageRecord(Struct, frozen=True, kw_only=True):
    """An image: its name with the tag, the digest of its manifest, and all documents and blobs (digest, size)."""

    name: str
    digest: Digest
    documents: tuple[StoredDocument, ...]
    blobs: tuple[tuple[Digest, int], ...]


async def names(redis: Redis, rules: CredentialRules) -> AsyncIterator[Reference]:
    """Yield the images of builds that are in this server's own repositories."""
    prefix = keys.latest_build("")
    with translated():
        async for key in redis.scan_iter(f"{prefix}*", count=1000):
            name = text(key).removeprefix(prefix).removeprefix("oras://")
            try:
                reference = parse_reference(name)
            except BadRequest:
                continue
            if rules.is_own(reference):
                yield reference


async def dump(client: RegistryClient, image: Reference, folder: BackupFolder, writer: RecordWriter) -> bool:
    """Write *image*; False if the registry does not have it: it was deleted, or its build has failed."""
    try:
        tree = await read_tree(client, image, CopyLimits(size=1 << 50))
    except ManifestUnknown:
        return False
    for node in tree.nodes:
        await folder.add(_one(node.document.content))
    for blob in tree.blobs:
        path = folder.blob(blob.digest)
        if path.is_file() and path.stat().st_size == blob.size:
            continue
        digest, _ = await folder.add(read_blob(client, image, blob))
        if digest != blob.digest:
            raise ManifestUnknown(f"{image.registry} sends other bytes than those of {blob.digest}")
    writer.write(
        ImageRecord(
            name=str(image),
            digest=tree.root.digest,
            documents=tuple(
                StoredDocument(digest_of(node.document.content), node.document.media_type, node.level, node.tag)
                for node in tree.nodes
            ),
            blobs=tuple((blob.digest, blob.size) for blob in tree.blobs),
        )
    )
    return True


async def differs(client: RegistryClient, record: ImageRecord) -> bool:
    """Return whether the registry has another image under the name of *record*."""
    document = await fetch_document(client, parse_reference(record.name))
    return document is not None and document.digest != record.digest


async def load(client: RegistryClient, folder: BackupFolder, record: ImageRecord) -> None:
    """Push the image of *record*: blobs, documents, then its tag. What the registry has is not sent again."""
    image, push = parse_reference(record.name), RegistryPush(client)
    for digest, size in record.blobs:
        await push.blob(image, digest, folder.require(digest, size))
    for stored in sorted(record.documents, key=lambda each: each.level):
        content = b"".join(folder.pieces(stored.digest))
        await push_manifest(client, image.at(stored.tag or stored.digest), detect(stored.media_type, content))
        if stored.digest == record.digest and image.digest is None:
            await push_manifest(client, image, detect(stored.media_type, content))


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
