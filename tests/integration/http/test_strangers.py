"""Clients that are slow, silent or many, on a real port: none of them keeps a connection, or the others waiting."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import timedelta
from typing import Any

import pytest

from swell.net import http
from swell.net.http import ConnectionLimit, listening
from swell.serve import Address
from swell_embedded.ports import Ports

SMALL = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers `/large` with 64 MiB, `/wait` when the client has gone, and everything else with `ok`."""
    body = b"ok"
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if scope["path"] == "/large":
        body = bytes(64 << 20)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


@pytest.fixture
def where() -> Address:
    return Address("127.0.0.1", Ports.free().gateway)


@asynccontextmanager
async def connected(where: Address, count: int = 1) -> AsyncIterator[list[Pair]]:
    pairs = [await asyncio.open_connection(*where) for _ in range(count)]
    try:
        yield pairs
    finally:
        for _, writer in pairs:
            writer.close()
        for _, writer in pairs:
            with suppress(ConnectionError):
                await writer.wait_closed()


async def rest(reader: asyncio.StreamReader, seconds: float = 20) -> bytes:
    """All until the server closes the connection."""
    async with asyncio.timeout(seconds):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n", SMALL, SMALL + b"GET / HT"])
async def test_a_connection_that_asks_nothing_is_closed(
    where: Address, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """Neither silence from the start, nor half a head, nor waiting between two requests lasts."""
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.5)
    async with listening(app, where), connected(where) as [(reader, writer)]:
        writer.write(said)

        answer = await rest(reader)

    assert answer.count(b"HTTP/1.1 200 OK") == said.count(SMALL)


async def test_a_request_that_waits_is_not_closed(where: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pull waits minutes for its build, and a watcher for the next line."""
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.2)
    async with listening(app, where), connected(where, 2) as [(waiting, ask), (silent, _)]:
        ask.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await rest(silent)  # it took longer than the limit

        assert not waiting.at_eof()
        with pytest.raises(TimeoutError):
            await rest(waiting, 0.5)


async def test_silent_connections_delay_no_other_client(where: Address) -> None:
    """More of them than the 1,024 connections that the server used to take."""
    async with listening(app, where), connected(where, 1500) as silent, connected(where) as [(reader, writer)]:
        started = time.monotonic()
        writer.write(SMALL)
        async with asyncio.timeout(10):
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"

        assert time.monotonic() - started < 5
        assert len(silent) == 1500


async def test_a_client_has_so_many_connections(where: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ones beyond are closed; those that a check has seen before go on."""
    monkeypatch.setattr(http, "CHECK_EVERY", timedelta(seconds=0.05))
    seen: list[str] = []

    def client(host: str) -> str:
        seen.append(host)
        return host

    async with listening(app, where, limit=ConnectionLimit(10, client)), connected(where, 10) as first:
        async with asyncio.timeout(20):
            while len(seen) < 20:  # noqa: ASYNC110  the server counts by the clock
                await asyncio.sleep(0.01)
        async with connected(where, 5) as later:
            assert [await rest(reader) for reader, _ in later] == [b""] * 5
        for reader, writer in first:
            writer.write(SMALL)
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"


async def test_a_trusted_proxy_has_any_number(where: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections are those of many clients."""
    monkeypatch.setattr(http, "CHECK_EVERY", timedelta(seconds=0.01))
    asked: list[str] = []

    def exempt(host: str) -> None:
        asked.append(host)

    async with listening(app, where, limit=ConnectionLimit(1, exempt)), connected(where, 5) as pairs:
        async with asyncio.timeout(20):
            while len(asked) < 50:  # noqa: ASYNC110  the server counts by the clock
                await asyncio.sleep(0.01)
        for reader, writer in pairs:
            writer.write(SMALL)
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"


async def test_a_client_that_reads_nothing_is_cut_off(where: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if its machine goes on to say that its window is closed."""
    monkeypatch.setattr(http, "STALLED_SECONDS", 1.0)
    async with listening(app, where):
        with closing(socket.socket()) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, where)
            await loop.sock_sendall(client, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            await loop.sock_recv(client, 1)
            assert accepted(where)
            async with asyncio.timeout(60):
                while accepted(where):  # noqa: ASYNC110  the kernel closes it without an event
                    await asyncio.sleep(0.05)


def accepted(where: Address) -> int:
    """How many connections the server has."""
    return len(http._accepted(where.port))
