"""A gateway that relays blobs, beside the stack's own gateway, which redirects."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct

from swell_embedded.processes.child import Child
from tests.bench.place import Place
from tests.e2e.environment import gateway_beside


class Relaying(Struct, frozen=True):
    """The gateway at *url*, a base URL; tokens work at both gateways."""

    url: str
    pid: int


@asynccontextmanager
async def relaying(place: Place, *, shared: bool = True) -> AsyncIterator[Relaying]:
    """Start it; unless its disk is *shared* with the registry-proxy, it reads the bytes over a connection."""
    settings = {} if shared else {"SPOOL": ""}
    name = "relaying" if shared else "relaying-afar"
    url, program = gateway_beside(place.stack, name, BLOB_DELIVERY="relay", **settings)
    child = await Child.start(program, place.home)
    try:
        await child.ready()
        yield Relaying(url.replace("localhost", "127.0.0.1"), child.pid)
    finally:
        await child.stop()
