"""A gateway that relays blobs, beside the stack's own, which redirects."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct

from swell_embedded.child import Child
from tests.bench.place import Place
from tests.e2e.environment import gateway_beside


class Relaying(Struct, frozen=True):
    """At *url*, a base URL; tokens are good at both."""

    url: str
    pid: int


@asynccontextmanager
async def relaying(place: Place, *, shared: bool = True) -> AsyncIterator[Relaying]:
    """Unless its disk is *shared* with the registry-proxy, the bytes come to it over a connection."""
    told = {} if shared else {"SPOOL": ""}
    name = "relaying" if shared else "relaying-afar"
    url, program = gateway_beside(place.stack, name, BLOB_DELIVERY="relay", **told)
    child = await Child.start(program, place.home)
    try:
        await child.ready()
        yield Relaying(url.replace("localhost", "127.0.0.1"), child.pid)
    finally:
        await child.stop()
