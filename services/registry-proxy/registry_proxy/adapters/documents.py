"""The documents of tokens in Redis: one hash a token, and the configs that we made by their digest."""

from collections.abc import Sequence
from datetime import datetime

from redis.asyncio import Redis

from registry_proxy.pull import Digests
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.store.redis import text, translated

_ROOT = b"root"
_SOURCE = b"source"
_READ_ROOT = """
local digest = redis.call('HGET', KEYS[1], ARGV[1])
return digest and redis.call('HGET', KEYS[1], digest)
"""


class RedisDocuments:
    """Each document is kept as its media type, a line feed and its bytes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._read_root = redis.register_script(_READ_ROOT)

    async def root(self, token: str) -> Document | None:
        with translated():
            return _decoded(await self._read_root(keys=[_image(token)], args=[_ROOT]))

    async def get(self, token: str, digest: Digest) -> Document | None:
        with translated():
            return _decoded(await self._redis.hget(_image(token), digest))

    async def config(self, digest: Digest) -> Document | None:
        with translated():
            return _decoded(await self._redis.get(_config(digest)))

    async def made_config(self, token: str, digest: Digest) -> bool:
        with translated():
            return bool(await self._redis.hexists(_image(token), _made(digest)))

    async def put_config(self, token: str, config: Document, expires: datetime) -> None:
        """Kept until the last token that leads to it expires."""
        until = int(expires.timestamp())
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.set(_config(config.digest), _encoded(config), nx=True, exat=until)
                pipe.expireat(_config(config.digest), until, gt=True)
                pipe.hset(_image(token), _made(config.digest), "")
                pipe.expireat(_image(token), until)
                await pipe.execute()

    async def put(self, token: str, manifest: Document, expires: datetime, *, under: Digest | None = None) -> None:
        await self._put(token, under or manifest.digest, manifest, expires)

    async def put_referrers(self, token: str, digest: Digest, index: Document, expires: datetime) -> None:
        await self._put(token, _refer(digest), index, expires)

    async def referrers(self, token: str, digests: Sequence[Digest]) -> list[Document]:
        with translated():
            kept = await self._redis.hmget(_image(token), [_refer(digest) for digest in digests])
        return [document for document in map(_decoded, kept) if document]

    async def forget(self, token: str) -> None:
        with translated():
            await self._redis.unlink(_image(token))

    async def _put(self, token: str, field: str, document: Document, expires: datetime) -> None:
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.hset(_image(token), field, _encoded(document))
                pipe.expireat(_image(token), int(expires.timestamp()))
                await pipe.execute()

    async def digests(self, token: str) -> Digests | None:
        with translated():
            source, wave = await self._redis.hmget(_image(token), _SOURCE, _ROOT)
        return Digests(Digest(text(source)), Digest(text(wave))) if source and wave else None

    async def put_root(self, token: str, manifest: Document, source: Digest, expires: datetime) -> Document:
        with translated():
            async with self._redis.pipeline() as pipe:
                pipe.hset(_image(token), manifest.digest, _encoded(manifest))
                pipe.hsetnx(_image(token), _ROOT, manifest.digest)
                pipe.hsetnx(_image(token), _SOURCE, source)
                pipe.expireat(_image(token), int(expires.timestamp()))
                _, first, _, _ = await pipe.execute()
        return manifest if first else await self.root(token) or manifest


def _encoded(document: Document) -> bytes:
    return document.media_type.encode() + b"\n" + document.content


def _decoded(kept: bytes | str | None) -> Document | None:
    if not isinstance(kept, bytes):
        return None
    media_type, _, content = kept.partition(b"\n")
    return Document(media_type.decode(), content)


def _image(token: str) -> str:
    return f"swell:image:{token}"


def _config(digest: Digest) -> str:
    return f"swell:config:{digest}"


def _made(digest: Digest) -> str:
    return f"made:{digest}"


def _refer(digest: Digest) -> str:
    return f"referrers:{digest}"
