"""The proxy through which buildkitd fetches: where it connects, and where not."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from builder.buildkit.network.egress import EgressProxy
from swell.net.outbound import Policy

Resolve = Callable[[str, int], Awaitable[list[str]]]


class Canary:
    """A server on loopback that counts its connections and answers in plain HTTP."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
            await writer.drain()
        except asyncio.IncompleteReadError:
            self.heads.append(b"")
        finally:
            writer.close()


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    canary = Canary()
    server = await asyncio.start_server(canary.answer, "127.0.0.1", 0)
    canary.port = server.sockets[0].getsockname()[1]
    async with server:
        yield canary


@asynccontextmanager
async def proxy(allowed: frozenset[str] = frozenset(), resolve: Resolve | None = None) -> AsyncIterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    async with EgressProxy(Policy(allowed), resolve=resolve).serve(listening):
        yield int(listening.getsockname()[1])


async def ask(port: int, head: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode())
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


def get(target: str) -> str:
    return f"GET http://{target}/x HTTP/1.1\r\nHost: {target}\r\nConnection: keep-alive\r\n\r\n"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "localhost."],
)
async def test_spellings_of_loopback_are_refused(canary: Canary, host: str) -> None:
    """For a request, and for a tunnel."""
    async with proxy() as port:
        plain = await ask(port, get(f"{host}:{canary.port}"))
        tunnel = await ask(port, f"CONNECT {host}:{canary.port} HTTP/1.1\r\n\r\n")
    for answer in (plain, tunnel):
        assert answer.split(b" ")[1] in {b"403", b"400", b"502"}
    assert canary.heads == []


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "10.1.2.3", "192.168.1.1", "100.64.0.1", "[fe80::1]", "[fd00::1]"]
)
async def test_private_addresses_are_refused(address: str) -> None:
    """Link-local ones too, where clouds give credentials to machines."""
    async with proxy() as port:
        answer = await ask(port, f"CONNECT {address}:443 HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")


async def test_a_name_that_changes_its_address_gains_nothing(canary: Canary) -> None:
    """The address that was checked is the one that is connected; the name is resolved once a connection."""
    requests = []

    async def rebinding(host: str, port: int) -> list[str]:
        requests.append(host)
        return ["203.0.113.1", "127.0.0.1"] if len(requests) == 1 else ["127.0.0.1"]

    async with proxy(resolve=rebinding) as port:
        for _ in range(3):
            answer = await ask(port, get(f"rebind.example:{canary.port}"))
            assert answer.startswith(b"HTTP/1.1 403 ")
    assert len(requests) == 3
    assert canary.heads == []


async def test_an_allowed_host_is_reached(canary: Canary) -> None:
    """By its name and port; the connection ends with the answer, so that each request is checked."""
    async with proxy(frozenset({f"registry.example:{canary.port}"}), resolve=_loopback) as port:
        answer = await ask(port, get(f"registry.example:{canary.port}"))
        other = await ask(port, get(f"other.example:{canary.port}"))
    assert answer.endswith(b"secret")
    assert canary.heads[0].startswith(b"GET /x HTTP/1.1\r\n")
    assert b"Connection: close" in canary.heads[0]
    assert other.startswith(b"HTTP/1.1 403 ")
    assert len(canary.heads) == 1


async def test_a_tunnel_passes_bytes_both_ways(canary: Canary) -> None:
    """TLS goes through as it is."""
    async with proxy(frozenset({"registry.example"}), resolve=_loopback) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"CONNECT registry.example:{canary.port} HTTP/1.1\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"GET /inside HTTP/1.1\r\n\r\n")
        assert (await reader.read()).endswith(b"secret")
        writer.close()
    assert canary.heads[0].startswith(b"GET /inside")


@pytest.mark.parametrize(
    "head",
    [
        "GET /x HTTP/1.1\r\n\r\n",
        "nonsense\r\n\r\n",
        "GET ftp://x/ HTTP/1.1\r\n\r\n",
        "CONNECT nowhere HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_request_for_a_proxy_is_refused(head: str) -> None:
    """Instead of guessing what was meant."""
    async with proxy() as port:
        answer = await ask(port, head)
    assert answer.split(b" ")[1] in {b"400", b"502"}


async def _loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]
