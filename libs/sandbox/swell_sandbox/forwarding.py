"""Forwards connections from the network of a sandbox to services on this machine's loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from swell.concurrency.tasks import TaskOwner

Address = tuple[str, int]
"""An IP address and a port."""

_CONNECT_WITHIN = 10.0
_MOST_CONNECTIONS = 64
_CHUNK = 256 * 1024


@asynccontextmanager
async def forwarding(listening: Mapping[Address, socket.socket]) -> AsyncIterator[None]:
    """Accept connections in the sandbox and connect each to the same address outside, until the block ends."""
    connections = TaskOwner()

    def connected(address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(connections) >= _MOST_CONNECTIONS:
            writer.close()
        else:
            connections.start(_forward(address, reader, writer))

    async with AsyncExitStack() as opened:
        for address, sock in listening.items():
            server = await asyncio.start_server(partial(connected, address), sock=sock, limit=_CHUNK)
            await opened.enter_async_context(server)
        try:
            yield
        finally:
            await connections.cancel()


async def _forward(address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_CONNECT_WITHIN):
            service_reader, service_writer = await asyncio.open_connection(*address, limit=_CHUNK)
        try:
            await asyncio.gather(_copy(reader, service_writer), _copy(service_reader, writer))
        finally:
            service_writer.close()
    except OSError:
        pass  # the client sees a closed connection
    finally:
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
