"""An application on a real port: it answers, it completes requests under way, and it does not share the port."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from swell.errors import Unavailable
from swell.net.http import listening
from swell.serve import Address
from swell_embedded.ports import Ports


class App:
    """Answers each request with its path, once it may."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.set()
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["raw_path"], "more_body": False})


@pytest.fixture
def where() -> Address:
    """An address where no process listens yet."""
    return Address("127.0.0.1", Ports.free().gateway)


async def ask(where: Address, path: str = "/") -> str:
    timeout = aiohttp.ClientTimeout(60)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(f"http://{where[0]}:{where[1]}{path}") as answer,
    ):
        return await answer.text()


async def test_requests_are_answered_inside_the_block_only(where: Address) -> None:
    """The end of the block closes the port: a service that stops accepts no connection."""
    async with listening(App(), where):
        assert await ask(where, "/hello") == "/hello"

    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(where)


async def test_a_port_can_be_had_again_at_once(where: Address) -> None:
    """A service that is restarted does not wait for old connections to time out."""
    for path in ("/1", "/2"):
        async with listening(App(), where):
            assert await ask(where, path) == path


async def test_leaving_the_block_finishes_the_request_under_way(where: Address) -> None:
    """A deployment breaks no pull."""
    app = App()
    app.go.clear()
    async with listening(app, where):
        asking = asyncio.create_task(ask(where, "/slow"))
        await app.begun.wait()
        asyncio.get_running_loop().call_later(0.3, app.go.set)

    assert await asking == "/slow"


async def test_a_request_that_never_ends_does_not_hold_up_the_stop(where: Address) -> None:
    """A pull waits minutes for its build; the stop of the service does not."""
    app, started = App(), time.monotonic()
    app.go.clear()
    async with listening(app, where, grace=0.2):
        asking = asyncio.create_task(ask(where))
        await app.begun.wait()
    stopped = time.monotonic() - started
    app.go.set()
    await asyncio.wait([asking])

    assert stopped < 20  # else it would wait as long as its client, 60 s


async def test_a_port_that_is_taken_stops_the_service_soon(where: Address) -> None:
    """Two that share a port would each get half of the requests."""
    async with listening(App(), where):
        started = time.monotonic()
        with pytest.raises(Unavailable, match=f"cannot listen on 127.0.0.1:{where.port}"):
            async with listening(App(), where):
                pass

        assert time.monotonic() - started < 10
        assert await ask(where, "/still") == "/still"
