"""How one sees that a program can be used: each probe returns, or raises OSError or Unavailable."""

import asyncio
from collections.abc import Iterable
from io import BytesIO
from urllib.request import Request, urlopen

import grpc
import urllib3
from grpc_health.v1 import health_pb2, health_pb2_grpc
from minio import Minio
from minio.error import MinioException

from swell.errors import Unavailable
from swell.rpc.channel import call
from swell_embedded.program import Probe

SECONDS = 1.0  # the longest that one look may take
_SOON = [("grpc.initial_reconnect_backoff_ms", 100)]  # else a refused connection is tried again after a second only


def tcp(port: int, say: bytes = b"", hear: bytes = b"") -> Probe:
    """Something accepts on *port* and, being told *say*, answers beginning with *hear*."""

    async def talk() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(say)
            return await reader.readexactly(len(hear))
        finally:
            writer.close()

    async def probe() -> None:
        try:
            heard = await asyncio.wait_for(talk(), SECONDS)
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            raise Unavailable(f"port {port} does not answer") from error
        if heard != hear:
            raise Unavailable(f"port {port} answers otherwise")

    return probe


def http(url: str, authorization: str | None = None) -> Probe:
    """GET *url* is answered with success."""
    request = Request(url, headers={"Authorization": authorization} if authorization else {})  # noqa: S310 - ours, http

    def get() -> None:
        urlopen(request, timeout=SECONDS).close()  # noqa: S310 - the same

    async def probe() -> None:
        await asyncio.to_thread(get)

    return probe


def grpc_health(port: int) -> Probe:
    """The server on *port* says SERVING. Source: the gRPC health checking protocol."""

    async def probe() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_SOON) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # its stubs leave it out
            answer = await call(f"port {port}", check, health_pb2.HealthCheckRequest(), seconds=SECONDS)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise Unavailable(f"port {port} is not serving")

    return probe


def both(first: Probe, second: Probe) -> Probe:
    """*first* and *second* both see it."""

    async def probe() -> None:
        await first()
        await second()

    return probe


def buckets(endpoint: str, access_key: str, secret_key: str, names: Iterable[str]) -> Probe:
    """S3 answers at *endpoint* (`host:port`) and takes objects into the buckets *names*; missing ones are made.

    After a crash SeaweedFS knows its buckets some seconds before it finds the objects in them.
    """
    pool = urllib3.PoolManager(retries=False, timeout=5 * SECONDS)
    client = Minio(endpoint, access_key, secret_key, secure=False, region="us-east-1", http_client=pool)

    def make() -> None:
        for name in names:
            if not client.bucket_exists(name):
                client.make_bucket(name)
            client.put_object(name, ".ready", BytesIO(b""), 0)

    async def probe() -> None:
        try:
            await asyncio.to_thread(make)
        except (MinioException, urllib3.exceptions.HTTPError) as error:
            raise Unavailable(str(error)) from error

    return probe
