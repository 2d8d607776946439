"""The documents of tokens: small ones in Redis, large ones in S3.

Documents that this service creates expire with their token: one hash per token, and the created configs by digest.
Documents that a registry can serve again (children of an index, referrers) expire an hour after their last use.
"""

from collections.abc import Sequence
from datetime import datetime

from redis.asyncio import Redis

from registry_proxy.image_tree.tree import Digests
from swell.errors import BlobUnknown, Unavailable
from swell.log import log
from swell.oci.digest import Digest, parse_digest
from swell.oci.document import Document
from swell.store import keys
from swell.store.blobs import Blobs
from swell.store.connections.redis import text, translated

LARGE = 64 << 10  # bytes; larger documents are stored in S3
CHILD_SECONDS = 3600

_ROOT = b"root"
_SOURCE = b"source"
_READ_ROOT = """
local digest = redis.call('HGET', KEYS[1], ARGV[1])
return digest and redis.call('HMGET', KEYS[1], digest, 'large:' .. digest)
"""


class RedisDocuments:
    """A small document is stored as its media type, a line feed and its bytes.

    For a large one, Redis stores a pointer under a separate name: its digest, a line feed and its media type.
    """

    def __init__(self, redis: Redis, large: Blobs | None = None) -> None:
        """Without *large*, all documents are stored in Redis."""
        self._redis = redis
        self._large = large
        self._read_root = redis.register_script(_READ_ROOT)

    async def root(self, token: str) -> Document | None:
        with translated():
            entry = await self._read_root(keys=[keys.image(token)], args=[_ROOT])
        return await self._read(*entry) if entry else None

    async def get(self, token: str, digest: Digest) -> Document | None:
        with translated():
            fields = await self._redis.hmget(keys.image(token), digest, _large(digest), _child(digest))
        inline, pointer, is_child = fields
        if is_child is None:
            return await self._read(inline, pointer)
        return await self._read_refetchable(f"{keys.image(token)}:{digest}")

    async def find_stored(self, token: str, digests: Sequence[Digest]) -> set[Digest]:
        """Return those of *digests* that `get` is likely to find, with one request."""
        if not digests:
            return set()
        names = [name for digest in digests for name in (digest, _large(digest), _child(digest))]
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hexists(keys.image(token), name)
                exists = await pipe.execute()
        return {digest for at, digest in enumerate(digests) if any(exists[3 * at : 3 * at + 3])}

    async def config(self, digest: Digest) -> Document | None:
        with translated():
            inline, pointer = await self._redis.mget(keys.config(digest), keys.large_config(digest))
        return await self._read(inline, pointer)

    async def has_created_config(self, token: str, digest: Digest) -> bool:
        with translated():
            return bool(await self._redis.hexists(keys.image(token), _made(digest)))

    async def put_config(self, token: str, config: Document, expires: datetime) -> None:
        """Store *config* until the last token that leads to it expires."""
        until = int(expires.timestamp())
        pointer = await self._store_large(config)
        key = keys.large_config(config.digest) if pointer else keys.config(config.digest)
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.set(key, pointer or _encoded(config), nx=True, exat=until)
                pipe.expireat(key, until, gt=True)
                pipe.hset(keys.image(token), _made(config.digest), "")
                pipe.expireat(keys.image(token), until)
                await pipe.execute()

    async def put(self, token: str, manifest: Document, expires: datetime) -> None:
        """Store *manifest*, which was created for *token*."""
        pointer = await self._store_large(manifest)
        field = _large(manifest.digest) if pointer else manifest.digest
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.hset(keys.image(token), field, pointer or _encoded(manifest))
                pipe.expireat(keys.image(token), int(expires.timestamp()))
                await pipe.execute()

    async def put_child(self, token: str, digest: Digest, manifest: Document, expires: datetime) -> None:
        """Store *manifest* under *digest*, which may use another algorithm; the registry can serve it again."""
        await self._put_refetchable(token, f"{keys.image(token)}:{digest}", _child(digest), manifest, expires)

    async def put_referrers(self, token: str, digest: Digest, index: Document, expires: datetime) -> None:
        field = _refer(digest)
        await self._put_refetchable(token, f"{keys.image(token)}:{field}", _child(field), index, expires)

    async def referrers(self, token: str, digests: Sequence[Digest]) -> list[Document]:
        """Return the stored referrers of *digests*, including those that earlier versions stored."""
        if not digests:
            return []
        names = [name for digest in digests for name in (_refer(digest), _child(_refer(digest)))]
        with translated():
            fields = await self._redis.hmget(keys.image(token), names)
        documents = []
        for digest, inline, is_child in zip(digests, fields[::2], fields[1::2], strict=True):
            if is_child is not None:
                documents.append(await self._read_refetchable(f"{keys.image(token)}:{_refer(digest)}"))
            else:
                documents.append(_decoded(inline))
        return [document for document in documents if document]

    async def remove(self, token: str) -> None:
        """Remove the documents of *token*; the entries of its children expire on their own."""
        with translated():
            await self._redis.unlink(keys.image(token))

    async def digests(self, token: str) -> Digests | None:
        with translated():
            source, wave = await self._redis.hmget(keys.image(token), _SOURCE, _ROOT)
        return Digests(Digest(text(source)), Digest(text(wave))) if source and wave else None

    async def put_root(self, token: str, manifest: Document, source: Digest, expires: datetime) -> Document:
        pointer = await self._store_large(manifest)
        field = _large(manifest.digest) if pointer else manifest.digest
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.hset(keys.image(token), field, pointer or _encoded(manifest))
                pipe.hsetnx(keys.image(token), _ROOT, manifest.digest)
                pipe.hsetnx(keys.image(token), _SOURCE, source)
                pipe.expireat(keys.image(token), int(expires.timestamp()))
                _, first, _, _ = await pipe.execute()
        return manifest if first else await self.root(token) or manifest

    async def _put_refetchable(self, token: str, key: str, field: str, document: Document, expires: datetime) -> None:
        """Store a document that a registry can serve again, until an hour after its last use."""
        content = _encoded(document)
        if self._large and document.size > LARGE:
            if (pointer := await self._store_large(document)) is None:
                return
            content = b"\0" + pointer
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.set(key, content, ex=CHILD_SECONDS)
                pipe.expireat(key, int(expires.timestamp()), lt=True)
                pipe.hset(keys.image(token), field, "")
                pipe.expireat(keys.image(token), int(expires.timestamp()))
                await pipe.execute()

    async def _read_refetchable(self, key: str) -> Document | None:
        """Read a document that `_put_refetchable` stored; None if it must be fetched again."""
        with translated():
            stored = await self._redis.getex(key, ex=CHILD_SECONDS)
        if isinstance(stored, bytes) and stored.startswith(b"\0"):
            try:
                return await self._read(None, stored[1:])
            except Unavailable:
                return None
        return _decoded(stored)

    async def _store_large(self, document: Document) -> bytes | None:
        """Store a large document in S3 and return its pointer; None for a document that belongs in Redis."""
        if self._large is None or document.size <= LARGE:
            return None
        try:
            await self._large.put(document.digest, document.content)
        except Unavailable as error:
            log.warning("large document not stored in the object store", digest=document.digest, error=str(error))
            return None
        return f"{document.digest}\n{document.media_type}".encode()

    async def _read(self, inline: bytes | str | None, pointer: bytes | str | None) -> Document | None:
        if inline is not None or not isinstance(pointer, bytes) or self._large is None:
            return _decoded(inline)
        digest, _, media_type = pointer.decode().partition("\n")
        try:
            async with self._large.open(parse_digest(digest)) as pieces:
                content = b"".join([piece async for piece in pieces])
        except BlobUnknown:
            return None
        return Document(media_type, content)


def _encoded(document: Document) -> bytes:
    return document.media_type.encode() + b"\n" + document.content


def _decoded(stored: bytes | str | None) -> Document | None:
    if not isinstance(stored, bytes):
        return None
    media_type, _, content = stored.partition(b"\n")
    return Document(media_type.decode(), content)


def _large(digest: Digest) -> str:
    return f"large:{digest}"


def _child(name: str) -> str:
    return f"child:{name}"


def _made(digest: Digest) -> str:
    return f"made:{digest}"


def _refer(digest: Digest) -> str:
    return f"referrers:{digest}"
