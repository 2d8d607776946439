"""Objects in S3, beside their memory twin.

Small ones go through the `minio` SDK in a thread pool; big ones are streamed by aiohttp from an address that the SDK
signs. Only plain S3 calls are used: put, get, head, multipart.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Protocol, TypeVar

import aiohttp
import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from yarl import URL

from swell.errors import NotFound, Unavailable, UpstreamFailed
from swell.outbound import PIECE, Policy, open_session, pieces, send

T = TypeVar("T")

THREADS = 16
ANY_TYPE = "application/octet-stream"
DEADLINE = timedelta(seconds=30)
FILE_DEADLINE = timedelta(minutes=30)
_ABSENT = frozenset({"NoSuchKey", "NoSuchObject"})


class Objects(Protocol):
    """Bytes by key. A put is seen whole or not at all; every method raises `Unavailable` when the store is away."""

    async def put(self, key: str, content: bytes, media_type: str = ANY_TYPE) -> None: ...

    async def put_file(self, key: str, path: Path, media_type: str = ANY_TYPE) -> None: ...

    async def get(self, key: str) -> bytes | None:
        """The whole object, for small ones; None when there is none."""

    async def size(self, key: str) -> int | None:
        """In bytes; None when there is no such object."""

    def open(self, key: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The object in pieces of about 1 MiB; read inside the block.

        Raises:
            NotFound: there is no such object.
        """


class S3Objects:
    """The objects of one bucket, which exists. Made by `connect`."""

    def __init__(self, client: Minio, session: aiohttp.ClientSession, pool: ThreadPoolExecutor, bucket: str) -> None:
        self._client = client
        self._session = session
        self._pool = pool
        self._bucket = bucket

    async def check(self) -> None:
        """Raise `Unavailable` unless the bucket is there."""
        if not await self._run(partial(self._client.bucket_exists, self._bucket)):
            raise Unavailable(f"the object store has no bucket {self._bucket}")

    async def put(self, key: str, content: bytes, media_type: str = ANY_TYPE) -> None:
        stored = partial(
            self._client.put_object, self._bucket, key, BytesIO(content), len(content), content_type=media_type
        )
        await self._run(stored)

    async def put_file(self, key: str, path: Path, media_type: str = ANY_TYPE) -> None:
        stored = partial(self._client.fput_object, self._bucket, key, str(path), content_type=media_type)
        await self._run(stored, FILE_DEADLINE)

    async def get(self, key: str) -> bytes | None:
        return await self._run(partial(_read, self._client, self._bucket, key))

    async def size(self, key: str) -> int | None:
        return await self._run(partial(_size, self._client, self._bucket, key))

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[AsyncIterator[bytes]]:
        url = self._client.presigned_get_object(self._bucket, key, timedelta(minutes=5))
        with translated():
            response = await send(self._session, "GET", URL(url, encoded=True), {})
        async with response:
            if response.status == 404:
                raise NotFound(f"there is no object {key}")
            if response.status != 200:
                raise Unavailable(f"the object store answers {response.status}")
            yield _pieces(response)

    async def _run(self, work: Callable[[], T], deadline: timedelta = DEADLINE) -> T:
        """Do *work* in the pool; the thread's own timeouts end it soon after a deadline that we no longer wait for."""
        with translated():
            async with asyncio.timeout(deadline.total_seconds()):
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)


@asynccontextmanager
async def connect(endpoint: str, access_key: str, secret_key: str, bucket: str) -> AsyncIterator[S3Objects]:
    """The objects of *bucket* in the S3 server at *endpoint* (`http://host:port`), which the operator vouches for.

    Raises:
        Unavailable: no server answers, or it has no such bucket for us.
    """
    url = URL(endpoint if "://" in endpoint else f"http://{endpoint}")
    client = Minio(
        url.authority,
        access_key,
        secret_key,
        secure=url.scheme == "https",
        region="us-east-1",  # named, so that signing asks nobody
        http_client=urllib3.PoolManager(
            maxsize=THREADS,
            timeout=urllib3.Timeout(connect=3, read=20),
            retries=urllib3.Retry(total=2, backoff_factor=0.1, status_forcelist=[500, 502, 503, 504]),
        ),
    )
    with ThreadPoolExecutor(THREADS, "s3") as pool:
        async with open_session(Policy(frozenset({url.authority}))) as session:
            objects = S3Objects(client, session, pool, bucket)
            await objects.check()
            yield objects


class MemoryObjects:
    """The memory twin of `S3Objects`."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    async def put(self, key: str, content: bytes, media_type: str = ANY_TYPE) -> None:  # noqa: ARG002
        self._kept[key] = content

    async def put_file(self, key: str, path: Path, media_type: str = ANY_TYPE) -> None:  # noqa: ARG002
        self._kept[key] = await asyncio.to_thread(path.read_bytes)

    async def get(self, key: str) -> bytes | None:
        return self._kept.get(key)

    async def size(self, key: str) -> int | None:
        return len(self._kept[key]) if key in self._kept else None

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[AsyncIterator[bytes]]:
        if key not in self._kept:
            raise NotFound(f"there is no object {key}")
        yield _slices(self._kept[key])


@contextmanager
def translated() -> Iterator[None]:
    """Turn what goes wrong between us and the object store into ours."""
    try:
        yield
    except (MinioException, urllib3.exceptions.HTTPError, TimeoutError, UpstreamFailed) as error:
        raise Unavailable(f"the object store does not answer as it should: {type(error).__name__}") from error


def _read(client: Minio, bucket: str, key: str) -> bytes | None:
    try:
        response = client.get_object(bucket, key)
    except S3Error as error:
        if error.code in _ABSENT:
            return None
        raise
    try:
        return response.read()
    finally:
        response.close()
        response.release_conn()


def _size(client: Minio, bucket: str, key: str) -> int | None:
    try:
        return client.stat_object(bucket, key).size
    except S3Error as error:
        if error.code in _ABSENT:
            return None
        raise


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    with translated():
        async for piece in pieces(response):
            yield piece


async def _slices(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]
