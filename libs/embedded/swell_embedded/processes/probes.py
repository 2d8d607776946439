"""Readiness probes: each returns if a program is ready, and raises OSError or Unavailable otherwise."""

import asyncio
from collections.abc import Iterable
from io import BytesIO
from urllib.request import Request, urlopen

import urllib3
from grpc_health.v1 import health_pb2, health_pb2_grpc
from minio import Minio
from minio.error import MinioException

from swell.errors import Unavailable
from swell.rpc.channel import call, channel_to
from swell.rpc.settings import of_environment
from swell_embedded.processes.program import Probe

SECONDS = 1.0  # timeout of one probe
_RECONNECT_SOON = [("grpc.initial_reconnect_backoff_ms", 100)]  # default: 1,000


def tcp(port: int, send: bytes = b"", expect: bytes = b"") -> Probe:
    """Probe that a server accepts on *port* and responds to *send* with bytes that start with *expect*."""

    async def talk() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(send)
            return await reader.readexactly(len(expect))
        finally:
            writer.close()

    async def probe() -> None:
        try:
            response = await asyncio.wait_for(talk(), SECONDS)
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            raise Unavailable(f"port {port} does not answer") from error
        if response != expect:
            raise Unavailable(f"port {port} sends an unexpected response")

    return probe


def http(url: str, authorization: str | None = None) -> Probe:
    """Probe that GET *url* succeeds."""
    request = Request(url, headers={"Authorization": authorization} if authorization else {})  # noqa: S310 - a fixed http URL

    def get() -> None:
        urlopen(request, timeout=SECONDS).close()  # noqa: S310 - the same

    async def probe() -> None:
        await asyncio.to_thread(get)

    return probe


def grpc_health(port: int, service: str = "") -> Probe:
    """Probe that the server on *port* is SERVING *service*, with the certificates of SWELL_RPC_ if these are set.

    Source: gRPC health checking protocol, https://grpc.io/docs/guides/health-checking/
    """

    async def probe() -> None:
        async with channel_to(f"127.0.0.1:{port}", of_environment(), options=_RECONNECT_SOON) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # missing in its stubs
            answer = await call(f"port {port}", check, health_pb2.HealthCheckRequest(service=service), seconds=SECONDS)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise Unavailable(f"port {port} is not serving")

    return probe


def both(first: Probe, second: Probe) -> Probe:
    """Probe that *first* and *second* succeed."""

    async def probe() -> None:
        await first()
        await second()

    return probe


def buckets(endpoint: str, access_key: str, secret_key: str, names: Iterable[str]) -> Probe:
    """Probe that S3 at *endpoint* (`host:port`) accepts objects in the buckets *names*; create missing buckets.

    After a crash, SeaweedFS lists its buckets some seconds before it finds their objects.
    """
    pool = urllib3.PoolManager(retries=False, timeout=5 * SECONDS)
    client = Minio(endpoint, access_key, secret_key, secure=False, region="us-east-1", http_client=pool)

    def check_buckets() -> None:
        for name in names:
            if not client.bucket_exists(name):
                client.make_bucket(name)
            client.put_object(name, ".ready", BytesIO(b""), 0)

    async def probe() -> None:
        try:
            await asyncio.to_thread(check_buckets)
        except (MinioException, urllib3.exceptions.HTTPError) as error:
            raise Unavailable(str(error)) from error

    return probe
