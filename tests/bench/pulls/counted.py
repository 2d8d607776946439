"""A registry that counts its requests."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from tests.bench.place import Place


class CountingProxy:
    """A proxy of the stack's registry at *authority*; `requests` counts the GETs of each path."""

    def __init__(self, place: Place, session: aiohttp.ClientSession) -> None:
        self.requests: Counter[str] = Counter()
        self.authority = ""
        self._place = place
        self._session = session

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests[request.path] += request.method == "GET"
        headers = {"Accept": request.headers.get("Accept", "*/*"), **self._place.login}
        async with self._session.request(
            request.method, self._place.registry + request.path, headers=headers
        ) as upstream:
            response_headers = {
                name: upstream.headers[name] for name in ("Content-Length", "Content-Type") if name in upstream.headers
            }
            response = web.StreamResponse(status=upstream.status, headers=response_headers)
            await response.prepare(request)
            async for piece in upstream.content.iter_any():
                await response.write(piece)
            return response


@asynccontextmanager
async def counted(place: Place) -> AsyncIterator[CountingProxy]:
    async with aiohttp.ClientSession() as session:
        registry = CountingProxy(place, session)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", registry.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            registry.authority = f"127.0.0.1:{runner.addresses[0][1]}"
            yield registry
        finally:
            await runner.cleanup()
