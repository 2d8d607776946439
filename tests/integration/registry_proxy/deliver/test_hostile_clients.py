"""Clients of the data port that are slow, silent, too many, or send malformed requests."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest
from aiohttp import web

from registry_proxy.handlers import server as module
from registry_proxy.handlers.server import BodyWriter, serve_blobs
from swell.serve import Address
from swell_embedded.ports import Ports

SMALL = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], AbstractAsyncContextManager[Pair]]


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    """`/large` sends as much as the client takes; everything else is `ok`."""
    if request.path != "/large":
        return web.Response(text="ok")
    response = BodyWriter(request, 200, {"Content-Length": str(1 << 40)})
    await response.begin()
    with suppress(module.ClientGone):
        while True:
            await response.send(bytes(1 << 16))
    response.abort()
    return response.response


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens a connection to a data port that takes four from a client."""
    where = Address("127.0.0.1", Ports.free().data)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Pair]:
        reader, writer = await asyncio.open_connection(*where)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async with serve_blobs(answer, where, grace=1, per_client=4):
        yield opened


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All until the server closes the connection."""
    async with asyncio.timeout(20):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /<script> HTTP/1.1\r\nHost x\r\n\r\n", 400),
        (b"GET /" + b"a" * (65 << 10) + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (9 << 10) + b"\r\n\r\n", 431),
    ],
)
async def test_a_head_that_is_refused_is_answered_as_registries_answer(
    connect: Connect, request_head: bytes, status: int
) -> None:
    """With a body of the specification's, which repeats nothing of the request."""
    async with connect() as (reader, writer):
        writer.write(request_head)
        head, _, body = (await rest(reader)).partition(b"\r\n\r\n")

    assert head.split()[1] == str(status).encode()
    assert b"\r\nContent-Type: application/json" in head and b"nosniff" in head
    assert json.loads(body)["errors"][0]["message"]
    assert b"script" not in body and b"aaa" not in body


async def test_http_1_0_needs_no_host(connect: Connect) -> None:
    """Probes of load balancers speak it."""
    async with connect() as (reader, writer):
        writer.write(b"GET / HTTP/1.0\r\n\r\n")

        assert (await rest(reader)).startswith(b"HTTP/1.0 200 ")


async def test_a_client_has_so_many_connections(connect: Connect) -> None:
    """One more is closed at once, and may come when another has gone."""
    async with connect(), connect(), connect(), connect() as (reader, writer):
        async with connect() as (refused, _):
            assert await rest(refused) == b""
        writer.write(SMALL)
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.close()
        async with asyncio.timeout(20):
            while True:
                async with connect() as (again, ask):
                    ask.write(SMALL)
                    with suppress(ConnectionError):
                        if await again.readline() == b"HTTP/1.1 200 OK\r\n":
                            return


async def test_a_client_that_reads_too_slowly_is_cut_off(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes some bytes again and again, so it never stalls; but a blob would take it for ever."""
    monkeypatch.setattr(module, "STALLED_SECONDS", 1.0)
    monkeypatch.setattr(module, "MIN_RATE", 100 << 20)
    async with connect() as (reader, writer):
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            async with asyncio.timeout(60):
                while True:
                    await reader.readexactly(1 << 17)
                    await asyncio.sleep(0.05)


async def test_a_body_that_drips_is_not_waited_for(connect: Connect) -> None:
    """Nothing here has a body: the answer comes at once, and the connection is closed soon."""
    async with connect() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")

        async def drip() -> None:
            with suppress(ConnectionError):
                while True:
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(0.2)

        dripping = asyncio.create_task(drip())
        assert (await rest(reader)).startswith(b"HTTP/1.1 200 ")
        dripping.cancel()
