"""The documents of tokens: small ones in Redis, large ones in S3.

What we made lives as long as its token: one hash a token, and the configs that we made by their digest. What a registry
can show again (children of an index, referrers) lives for an hour after its last use.
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
from swell.store.redis import text, translated

LARGE = 64 << 10  # bytes of a document that is stored in S3
CHILD_SECONDS = 3600

_ROOT = b"root"
_SOURCE = b"source"
_READ_ROOT = """
local digest = redis.call('HGET', KEYS[1], ARGV[1])
return digest and redis.call('HMGET', KEYS[1], digest, 'large:' .. digest)
"""


class RedisDocuments:
    """A small document is stored as its media type, a line feed and its bytes; of a large one, Redis has a pointer: its
    digest, a line feed and its media type, under a name of its own, which earlier versions do not read."""

    def __init__(self, redis: Redis, large: Blobs | None = None) -> None:
        """Without *large*, all documents are stored in Redis."""
        self._redis = redis
        self._large = large
        self._read_root = redis.register_script(_READ_ROOT)

    async def root(self, token: str) -> Document | None:
        with translated():
            found = await self._read_root(keys=[_image(token)], args=[_ROOT])
        return await self._read(*found) if found else None

    async def get(self, token: str, digest: Digest) -> Document | None:
        with translated():
            fields = await self._redis.hmget(_image(token), digest, _large(digest), _child(digest))
        inline, pointer, is_child = fields
        if is_child is None:
            return await self._read(inline, pointer)
        return await self._read_again(f"{_image(token)}:{digest}")

    async def known(self, token: str, digests: Sequence[Digest]) -> set[Digest]:
        """Those of *digests* that `get` is likely to find, asked in one go."""
        if not digests:
            return set()
        names = [name for digest in digests for name in (digest, _large(digest), _child(digest))]
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hexists(_image(token), name)
                found = await pipe.execute()
        return {digest for at, digest in enumerate(digests) if any(found[3 * at : 3 * at + 3])}

    async def config(self, digest: Digest) -> Document | None:
        with translated():
            inline, pointer = await self._redis.mget(_config(digest), _large_config(digest))
        return await self._read(inline, pointer)

    async def has_created_config(self, token: str, digest: Digest) -> bool:
        with translated():
            return bool(await self._redis.hexists(_image(token), _made(digest)))

    async def put_config(self, token: str, config: Document, expires: datetime) -> None:
        """Stored until the last token that leads to it expires."""
        until = int(expires.timestamp())
        pointer = await self._stored(config)
        key = _large_config(config.digest) if pointer else _config(config.digest)
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.set(key, pointer or _encoded(config), nx=True, exat=until)
                pipe.expireat(key, until, gt=True)
                pipe.hset(_image(token), _made(config.digest), "")
                pipe.expireat(_image(token), until)
                await pipe.execute()

    async def put(self, token: str, manifest: Document, expires: datetime) -> None:
        """Store *manifest*, which we made for *token*."""
        pointer = await self._stored(manifest)
        field = _large(manifest.digest) if pointer else manifest.digest
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.hset(_image(token), field, pointer or _encoded(manifest))
                pipe.expireat(_image(token), int(expires.timestamp()))
                await pipe.execute()

    async def put_child(self, token: str, digest: Digest, manifest: Document, expires: datetime) -> None:
        """Store *manifest* under *digest*, which may be of another algorithm; the registry can show it again."""
        await self._put_again(token, f"{_image(token)}:{digest}", _child(digest), manifest, expires)

    async def put_referrers(self, token: str, digest: Digest, index: Document, expires: datetime) -> None:
        field = _refer(digest)
        await self._put_again(token, f"{_image(token)}:{field}", _child(field), index, expires)

    async def referrers(self, token: str, digests: Sequence[Digest]) -> list[Document]:
        """Documents of *digests* that earlier versions stored count as well."""
        if not digests:
            return []
        names = [name for digest in digests for name in (_refer(digest), _child(_refer(digest)))]
        with translated():
            fields = await self._redis.hmget(_image(token), names)
        found = []
        for digest, inline, is_child in zip(digests, fields[::2], fields[1::2], strict=True):
            if is_child is not None:
                found.append(await self._read_again(f"{_image(token)}:{_refer(digest)}"))
            else:
                found.append(_decoded(inline))
        return [document for document in found if document]

    async def forget(self, token: str) -> None:
        """Remove what was made for *token*, and what leads to its children, which expire by themselves."""
        with translated():
            await self._redis.unlink(_image(token))

    async def digests(self, token: str) -> Digests | None:
        with translated():
            source, wave = await self._redis.hmget(_image(token), _SOURCE, _ROOT)
        return Digests(Digest(text(source)), Digest(text(wave))) if source and wave else None

    async def put_root(self, token: str, manifest: Document, source: Digest, expires: datetime) -> Document:
        pointer = await self._stored(manifest)
        field = _large(manifest.digest) if pointer else manifest.digest
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.hset(_image(token), field, pointer or _encoded(manifest))
                pipe.hsetnx(_image(token), _ROOT, manifest.digest)
                pipe.hsetnx(_image(token), _SOURCE, source)
                pipe.expireat(_image(token), int(expires.timestamp()))
                _, first, _, _ = await pipe.execute()
        return manifest if first else await self.root(token) or manifest

    async def _put_again(self, token: str, key: str, field: str, document: Document, expires: datetime) -> None:
        """Store what a registry can show again, until an hour after its last use."""
        content = _encoded(document)
        if self._large and document.size > LARGE:
            if (pointer := await self._stored(document)) is None:
                return
            content = b"\0" + pointer
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.set(key, content, ex=CHILD_SECONDS)
                pipe.expireat(key, int(expires.timestamp()), lt=True)
                pipe.hset(_image(token), field, "")
                pipe.expireat(_image(token), int(expires.timestamp()))
                await pipe.execute()

    async def _read_again(self, key: str) -> Document | None:
        """Read what `_put_again` stored; None when it must be asked for again."""
        with translated():
            kept = await self._redis.getex(key, ex=CHILD_SECONDS)
        if isinstance(kept, bytes) and kept.startswith(b"\0"):
            try:
                return await self._read(None, kept[1:])
            except Unavailable:
                return None
        return _decoded(kept)

    async def _stored(self, document: Document) -> bytes | None:
        """Store a large document in S3 and return its pointer; None for what goes into Redis."""
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


def _decoded(kept: bytes | str | None) -> Document | None:
    if not isinstance(kept, bytes):
        return None
    media_type, _, content = kept.partition(b"\n")
    return Document(media_type.decode(), content)


def _image(token: str) -> str:
    return keys.image(token)


def _config(digest: Digest) -> str:
    return keys.config(digest)


def _large_config(digest: Digest) -> str:
    return keys.large_config(digest)


def _large(digest: Digest) -> str:
    return f"large:{digest}"


def _child(name: str) -> str:
    return f"child:{name}"


def _made(digest: Digest) -> str:
    return f"made:{digest}"


def _refer(digest: Digest) -> str:
    return f"referrers:{digest}"
