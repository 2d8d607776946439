"""A TCP proxy that breaks connections in the middle, for tests of resumed transfers."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

from swell.concurrency.tasks import TaskOwner

READ = 1 << 16


class CuttingProxy:
    """Forwards connections of `authority` to a server. `cuts` are the numbers of bytes after which it breaks one.

    Each number is used once, in order, for all connections together, and counts the bytes in one direction: to the
    server, or with `from_server` to the client. `broken` counts the broken connections, `passed` the bytes in that
    direction.
    """

    def __init__(self, host: str, port: int, *, from_server: bool = False) -> None:
        self.authority = ""
        self.cuts: list[int] = []
        self.broken = 0
        self.passed = 0
        self._target = host, port
        self._from_server = from_server

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError), closing(writer):
            there, back = await asyncio.open_connection(*self._target)
            with closing(back):
                async with TaskOwner() as tasks:
                    tasks.start(self._copy(reader, back, not self._from_server))
                    tasks.start(self._copy(there, writer, self._from_server))
                    await tasks.wait_for_one()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may_cut: bool) -> None:
        passed = 0
        with suppress(OSError):
            while piece := await reader.read(READ):
                passed += len(piece)
                self.passed += len(piece) if may_cut else 0
                writer.write(piece)
                await writer.drain()
                if may_cut and self.cuts and passed >= self.cuts[0]:
                    self.cuts.pop(0)
                    self.broken += 1
                    return


@asynccontextmanager
async def cutting_proxy(
    authority: str, *, from_server: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[CuttingProxy]:
    """Serve a `CuttingProxy` for the server at *authority* on a free port of loopback while the block runs.

    With *tls*, clients connect with TLS, and the server gets plain bytes.
    """
    host, _, port = authority.rpartition(":")
    proxy = CuttingProxy(host, int(port), from_server=from_server)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.authority = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield proxy
