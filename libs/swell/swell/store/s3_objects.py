"""Objects in S3.

Small objects use the `minio` SDK in a thread pool; aiohttp streams large ones from a URL that the SDK signs. Only plain
S3 calls are used: put, get, head, multipart.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import aiohttp
import urllib3
from yarl import URL

from swell.concurrency.periodic import owned
from swell.errors import NotFound, Unavailable, UpstreamFailed
from swell.imports import emptied
from swell.log import warn_once_a_second
from swell.net.outbound import Policy, Reach, name_with_port, open_session, pieces, send
from swell.net.reach import trusting
from swell.observe.instruments import POOL_USED, pool
from swell.store.connections.s3_credentials import Renewed, credentials_of
from swell.store.connections.settings import Addressing, S3Settings

with emptied("minio.crypto", "decrypt", "encrypt"):  # of MinioAdmin, which nothing here uses: it loads pycryptodome
    from minio import Minio
    from minio.credentials.providers import Provider
    from minio.error import MinioException
    from minio.helpers import DictType

from swell.store import s3_calls
from swell.store.objects import ANY_TYPE, StoredObject, slices

T = TypeVar("T")

THREADS = 16
_CALLS = POOL_USED.labels("object-store")
DEADLINE = timedelta(seconds=30)
FILE_DEADLINE = timedelta(minutes=30)
LINK_LIFE = timedelta(minutes=15)
_AS_DOWNLOAD: DictType = {"response-content-type": ANY_TYPE, "response-content-disposition": "attachment"}
"""Response headers for clients of a link: browsers store the object and never render it."""


class S3Objects:
    """The objects of one existing bucket; see `connect`.

    *public* signs URLs for clients, who reach the server under another name; without it there are no links.
    """

    def __init__(
        self,
        client: Minio,
        session: aiohttp.ClientSession,
        pool: ThreadPoolExecutor,
        bucket: str,
        public: Minio | None = None,
    ) -> None:
        self._client = client
        self._public = public
        self._session = session
        self._pool = pool
        self.bucket = bucket

    async def ensure(self) -> None:
        """Create the bucket if it is missing.

        Raises:
            Unavailable: no server answers, or the bucket is missing and the keys may not create it.
        """
        if not await self._run(partial(self._client.bucket_exists, self.bucket)):
            await self._run(partial(s3_calls.create_bucket, self._client, self.bucket))

    async def put(self, key: str, content: bytes, media_type: str = ANY_TYPE) -> None:
        stored = partial(
            self._client.put_object, self.bucket, key, BytesIO(content), len(content), content_type=media_type
        )
        await self._run(stored)

    async def put_file(self, key: str, path: Path, media_type: str = ANY_TYPE) -> None:
        stored = partial(self._client.fput_object, self.bucket, key, str(path), content_type=media_type)
        await self._run(stored, FILE_DEADLINE)

    async def get(self, key: str) -> bytes | None:
        return await self._run(partial(s3_calls.read, self._client, self.bucket, key))

    async def size(self, key: str) -> int | None:
        """See `Objects.size`; without the SDK, which takes several times as long, because pulls wait for it."""
        url = self._client.get_presigned_url("HEAD", self.bucket, key, LINK_LIFE)
        with translated():
            async with asyncio.timeout(DEADLINE.total_seconds()):
                response = await send(self._session, "HEAD", URL(url, encoded=True), {})
        async with response:
            if response.status == 404:
                return None
            if response.status != 200 or response.content_length is None:
                raise Unavailable(f"the object store answers {response.status}")
            return response.content_length

    @asynccontextmanager
    async def open(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        if stop is not None and stop <= start:  # a range cannot express no bytes
            if await self.size(key) is None:
                raise NotFound(f"object {key} does not exist")
            yield slices(b"")
            return
        url = self._client.presigned_get_object(self.bucket, key, LINK_LIFE)
        is_part = start > 0 or stop is not None
        headers = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if is_part else {}
        with translated():
            response = await send(self._session, "GET", URL(url, encoded=True), headers)
        async with response:
            if response.status == 404:
                raise NotFound(f"object {key} does not exist")
            if response.status != (206 if is_part else 200):
                raise Unavailable(f"the object store answers {response.status}")
            yield _pieces(response)

    def link(self, key: str) -> str | None:
        if self._public is None:
            return None
        return self._public.presigned_get_object(self.bucket, key, LINK_LIFE, response_headers=_AS_DOWNLOAD)

    async def renew(self, key: str, age: timedelta) -> None:
        await self._run(partial(s3_calls.renew, self._client, self.bucket, key, age), FILE_DEADLINE)

    async def page(self, prefix: str, after: str = "", limit: int = 1000) -> list[StoredObject]:
        """Return at most *limit* objects below *prefix* with keys above *after*, in the order of their keys."""
        return await self._run(partial(s3_calls.page, self._client, self.bucket, prefix, after, limit))

    async def delete(self, key: str) -> None:
        """Delete the object; do nothing when it is missing."""
        await self._run(partial(self._client.remove_object, self.bucket, key))

    async def expire(self, prefix: str, days: int) -> None:
        """Have the server remove what is below *prefix* and older than *days*; other rules of the bucket stay."""
        await self._run(partial(s3_calls.expire, self._client, self.bucket, prefix, days))

    async def _run(self, work: Callable[[], T], deadline: timedelta = DEADLINE) -> T:
        """Do *work* in the pool; the thread's own timeouts end it soon after a deadline that we no longer wait for."""
        with translated(), _CALLS.track_inprogress():
            async with asyncio.timeout(deadline.total_seconds()):
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)


@asynccontextmanager
async def connect(
    settings: S3Settings, bucket: str, ca_file: Path | None = None, *, public_endpoint: str | None = None
) -> AsyncIterator[S3Objects]:
    """Open *bucket* of the S3 server of *settings*, which the operator trusts.

    *public_endpoint* is the URL of the server for clients, if they can reach it.

    Raises:
        SettingsInvalid: *ca_file* cannot be read, or a key is missing.
        Unavailable: no server answers, there are no credentials, or the bucket is missing and cannot be created.
    """
    provider = credentials_of(settings)
    with ThreadPoolExecutor(THREADS, "s3") as threads, pool("object-store", THREADS):
        async with _kept_fresh(provider):
            client = client_of(settings.endpoint, settings, provider, ca_file)
            public = client_of(public_endpoint, settings, provider, ca_file) if public_endpoint else None
            async with open_session(_only(client, bucket), Reach(ca_file=ca_file)) as session:
                objects = S3Objects(client, session, threads, bucket, public)
                await objects.ensure()
                yield objects


@asynccontextmanager
async def _kept_fresh(provider: Provider) -> AsyncIterator[None]:
    """Fetch credentials that end now, and again while the block runs."""
    if not isinstance(provider, Renewed):
        yield
        return
    await asyncio.to_thread(provider.fetch)
    async with owned(provider.keep_fresh(), event="credentials of the object store not renewed"):
        yield


def _only(client: Minio, bucket: str) -> Policy:
    """Allow the host of the object store, which may have a private address; the name of *bucket* may be part of it."""
    return Policy(frozenset({name_with_port(URL(client.get_presigned_url("GET", bucket, "any"), encoded=True))}))


def client_of(endpoint: str, settings: S3Settings, provider: Provider, ca_file: Path | None = None) -> Minio:
    """Return the SDK's client of the server at *endpoint*; it connects at its first call."""
    url = URL(endpoint if "://" in endpoint else f"http://{endpoint}")
    client = Minio(
        url.authority,
        credentials=provider,
        secure=url.scheme == "https",
        region=settings.region,  # set, so that signing needs no request
        http_client=urllib3.PoolManager(
            maxsize=THREADS,
            timeout=urllib3.Timeout(connect=3, read=20),
            retries=urllib3.Retry(total=2, backoff_factor=0.1, status_forcelist=[500, 502, 503, 504]),
            ssl_context=trusting(ca_file) if url.scheme == "https" else None,
        ),
    )
    if settings.addressing is Addressing.VIRTUAL:
        client.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
    elif settings.addressing is Addressing.PATH:
        client.disable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
    return client


@contextmanager
def translated() -> Iterator[None]:
    """Convert errors of the object store in the block into `Unavailable`; their details are logged."""
    try:
        yield
    except (MinioException, urllib3.exceptions.HTTPError, TimeoutError, UpstreamFailed) as error:
        warn_once_a_second("object store failed", error=str(error) or type(error).__name__)
        raise Unavailable("the object store does not answer") from error


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    with translated():
        async for piece in pieces(response):
            yield piece
