"""A registry that counts what it is asked for."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from tests.bench.place import Place


class Counted:
    """The stack's registry behind another door, at *authority*; `asked` counts the GETs of each path."""

    def __init__(self, place: Place, session: aiohttp.ClientSession) -> None:
        self.asked: Counter[str] = Counter()
        self.authority = ""
        self._place = place
        self._session = session

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += request.method == "GET"
        headers = {"Accept": request.headers.get("Accept", "*/*"), **self._place.login}
        async with self._session.request(request.method, self._place.registry + request.path, headers=headers) as found:
            kept = {name: found.headers[name] for name in ("Content-Length", "Content-Type") if name in found.headers}
            response = web.StreamResponse(status=found.status, headers=kept)
            await response.prepare(request)
            async for piece in found.content.iter_any():
                await response.write(piece)
            return response


@asynccontextmanager
async def counted(place: Place) -> AsyncIterator[Counted]:
    async with aiohttp.ClientSession() as session:
        registry = Counted(place, session)
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
