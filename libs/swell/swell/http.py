"""An ASGI application on a port, served by Granian inside this event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from granian.constants import Interfaces
from granian.server.embed import Server

from swell.errors import Unavailable
from swell.log import log
from swell.serve import Address


@asynccontextmanager
async def listening(app: Any, where: Address) -> AsyncIterator[None]:
    """Answer HTTP at *where* while the block runs; leaving it finishes the requests that are under way.

    Raises:
        Unavailable: the port cannot be had.
    """
    server = Server(
        app,
        address=where.host,
        port=where.port,
        interface=Interfaces.ASGINL,
        backlog=1024,
        websockets=False,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    try:
        await _accepts(where, serving)
        log.info("listening", host=where.host, port=where.port)
        yield
    finally:
        if not serving.done():
            server.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait([serving])


async def _accepts(where: Address, serving: "asyncio.Task[None]") -> None:
    for _ in range(200):
        if serving.done():
            raise Unavailable(f"cannot listen on {where.host}:{where.port}: {serving.exception()}")
        try:
            _, writer = await asyncio.open_connection(*where)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return
    raise Unavailable(f"nothing accepts on {where.host}:{where.port} after two seconds")
