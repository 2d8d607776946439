"""A proxy between a client and the server that can lose responses and strip path prefixes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from msgspec import Struct, field

HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "content-encoding", "date", "server"})


class Fault(Struct, frozen=True):
    """A response in the place of the server's: a status, or for None a connection that closes.

    The server has processed the request, unless *unseen*.
    """

    status: int | None = None
    headers: dict[str, str] = {}
    unseen: bool = False


DROPPED = Fault()
NO_FAULT = None


class FaultyProxy(Struct):
    """The proxy at *url*. Each of *faults* replaces one response; *paths* lists the requested paths."""

    url: str
    faults: list[Fault | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@asynccontextmanager
async def faulty_proxy(server: str, prefix: str = "") -> AsyncIterator[FaultyProxy]:
    """Start a proxy of *server* for paths below *prefix*; the server does not see the prefix."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        state = FaultyProxy("")

        async def answer(request: web.Request) -> web.StreamResponse:
            state.paths.append(f"{request.method} {request.path}")
            fault = state.faults.pop(0) if state.faults else None
            if fault and fault.unseen:
                return _instead(request, fault)
            if not request.path.startswith(f"{prefix}/"):
                return web.Response(status=404)
            body = await request.read()
            target = server + request.path_qs.removeprefix(prefix)
            headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
            async with session.request(
                request.method, target, data=body or None, headers=headers, allow_redirects=False
            ) as response:
                content = await response.read()
                response_headers = {
                    name: value for name, value in response.headers.items() if name.lower() not in HOP_BY_HOP
                }
            return (
                _instead(request, fault)
                if fault
                else web.Response(status=response.status, headers=response_headers, body=content)
            )

        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0]
            state.url = f"http://{host}:{port}{prefix}"
            yield state
        finally:
            await runner.cleanup()


def _instead(request: web.Request, fault: Fault) -> web.Response:
    if fault.status is None:
        if request.transport:
            request.transport.abort()
        raise asyncio.CancelledError
    return web.Response(status=fault.status, headers=fault.headers, text="{}")
