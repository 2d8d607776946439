"""An ASGI application on a port, served by Granian inside this event loop."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from granian.constants import Interfaces
from granian.server.embed import Server

from swell.errors import Unavailable
from swell.log import log
from swell.serve import Address

BEGIN_WITHIN = (
    20.0  # seconds; the threads of the server are started meanwhile, perhaps with all of a machine's services
)


@asynccontextmanager
async def listening(app: Any, where: Address, grace: float = 10.0) -> AsyncIterator[None]:
    """Answer HTTP at *where* while the block runs; leaving it gives the requests under way *grace* seconds to finish.

    Raises:
        Unavailable: the port cannot be had.
    """
    _must_be_free(where)
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
        gc.freeze()  # what is there now stays: collecting need not look at it again, and pauses get short
        log.info("listening", host=where.host, port=where.port)
        yield
    finally:
        if not serving.done():
            server.stop()  # type: ignore[no-untyped-call]
        ended, _ = await asyncio.wait([serving], timeout=grace)
        if not ended:
            log.warning("requests were not finished", seconds=grace)
            serving.cancel()


def _must_be_free(where: Address) -> None:
    """Granian alone would share the port with another process (SO_REUSEPORT): each would get half of the requests."""
    with socket.socket(socket.AF_INET6 if ":" in where.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            raise Unavailable(f"cannot listen on {where.host}:{where.port}: {error.strerror}") from error


async def _accepts(where: Address, serving: "asyncio.Task[None]") -> None:
    give_up = monotonic() + BEGIN_WITHIN
    while monotonic() < give_up:
        if serving.done():
            raise Unavailable(f"cannot listen on {where.host}:{where.port}: {serving.exception()}")
        try:
            _, writer = await asyncio.open_connection(*where)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return
    raise Unavailable(f"nothing accepts on {where.host}:{where.port} after {BEGIN_WITHIN:.0f} s")
