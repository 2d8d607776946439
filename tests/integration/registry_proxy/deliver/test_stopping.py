"""A data port that is asked to stop serves what is running, and the next blobs of the same pull."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web

from registry_proxy.handlers.server import serve_blobs
from swell.concurrency.drain import Drain
from swell.serve import Address
from swell_embedded.ports import Ports


@pytest.fixture
def where() -> Address:
    return Address("127.0.0.1", Ports.free().data)


async def test_a_download_ends_and_the_next_one_is_served(where: Address) -> None:
    """A pull is several requests; the port closes when none has come for a while."""
    go, begun, drain = asyncio.Event(), asyncio.Event(), Drain(timedelta(seconds=30))

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/first":
            begun.set()
            await go.wait()
        return web.Response(body=b"bytes")

    async def get(path: str) -> bytes:
        async with session.get(f"http://{where.host}:{where.port}{path}") as response:
            return await response.read()

    async def serve() -> None:
        async with serve_blobs(answer, where, drain=drain):
            await drain.started.wait()

    async with aiohttp.ClientSession() as session:
        serving = asyncio.create_task(serve())
        first = asyncio.create_task(retried(lambda: get("/first")))
        await begun.wait()
        drain.start()
        assert await get("/second") == b"bytes"
        go.set()
        assert await first == b"bytes"
        async with asyncio.timeout(60):
            await serving
        with pytest.raises(aiohttp.ClientError):
            await get("/third")


async def retried(get: Callable[[], Awaitable[bytes]]) -> bytes:
    """The answer of *get*, as soon as the port is open."""
    while True:
        try:
            return await get()
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(0.02)
