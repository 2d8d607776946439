"""`python -m tests.platform PORT`: serve the Platform's API, pair with gateways, and take orders from the tests.

- `POST /control` replaces members of its `Knowledge`; `GET /control/seen` lists the requests that it got.
- `POST /control/pair` has `{"gateways": [url, …], "secret": …, "endpoint": …, "packets": "1,2"}`: keep a pairing socket
  to each gateway open, and connect again when one is closed.
"""

import asyncio
import base64
import json
import sys
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from aiohttp import web

from tests.platform.state import Knowledge, PlatformState

HEARTBEAT_SECONDS = 0.5
AGAIN_SECONDS = 0.1


class StandIn:
    def __init__(self) -> None:
        self.state = PlatformState()
        self.opened: dict[str, int] = {}  # by gateway: how often a socket was paired
        self.closed: list[str] = []
        self.is_silent = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def control(self, request: web.Request) -> web.Response:
        changes = await request.json()
        self.is_silent = changes.pop("silent", self.is_silent)
        current = msgspec.to_builtins(self.state.knowledge)
        self.state.knowledge = msgspec.convert(current | changes, Knowledge)
        return web.json_response({})

    async def seen(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"seen": msgspec.to_builtins(list(self.state.seen)), "opened": self.opened, "closed": self.closed}
        )

    async def pair(self, request: web.Request) -> web.Response:
        order = await request.json()
        for task in self._tasks:
            task.cancel()
        for gateway in order["gateways"]:
            task = asyncio.create_task(self._keep_paired(gateway, order))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return web.json_response({})

    async def api(self, request: web.Request) -> web.Response:
        """Answer a request that came directly."""
        body = (await request.read()).decode()
        auth = request.headers.get("Authorization")
        status, text, headers = await self.state.answer("direct", request.method, request.path_qs[4:], auth, body)
        response = web.Response(status=status, text=text, content_type="application/json")
        for name, values in headers.items():
            for value in values:
                response.headers.add(name, value)
        return response

    async def _keep_paired(self, gateway: str, order: dict[str, Any]) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                with suppress(aiohttp.ClientError, OSError, asyncio.TimeoutError):
                    await self._pair(session, gateway, order)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _pair(self, session: aiohttp.ClientSession, gateway: str, order: dict[str, Any]) -> None:
        query = f"endpoint={quote(order['endpoint'], safe='')}"
        if packets := order.get("packets"):
            query += f"&packets={packets}"
        url = f"{gateway}/pairing/tower/token/{quote(order['secret'], safe='')}?{query}"
        async with session.ws_connect(url, max_msg_size=1 << 22) as socket:
            beating = asyncio.create_task(self._beat(socket))
            answering: set[asyncio.Task[None]] = set()
            try:
                async for message in socket:
                    fields = json.loads(message.data)
                    if fields["@type"] == "pairing-response":
                        key = base64.b64decode(fields["publicKey"])
                        self.state.public_keys[fields["pairingId"]] = key, fields.get("packets", 1)
                        self.opened[gateway] = self.opened.get(gateway, 0) + 1
                    elif fields["@type"] == "proxy-http-request":
                        task = asyncio.create_task(self._answer(socket, fields, order["endpoint"]))
                        answering.add(task)
                        task.add_done_callback(answering.discard)
            finally:
                beating.cancel()
                self.closed.append(f"{socket.close_code}")

    async def _answer(self, socket: aiohttp.ClientWebSocketResponse, fields: dict[str, Any], endpoint: str) -> None:
        assert fields["uri"].startswith(endpoint)
        url = fields["uri"].removeprefix(endpoint)
        status, body, headers = await self.state.answer("socket", fields["method"], url, fields["auth"], fields["body"])
        answer = {"@type": "proxy-http-response", "msgId": fields["msgId"], "status": status, "body": body}
        with suppress(ConnectionError):
            await socket.send_json(answer | {"headers": headers, "future": [1]})

    async def _beat(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            if not self.is_silent:
                with suppress(ConnectionError):
                    await socket.send_json({"@type": "pairing-heartbeat", "msgId": "beat"})


async def main(port: int) -> None:
    stand_in = StandIn()
    app = web.Application()
    app.add_routes(
        [
            web.post("/control", stand_in.control),
            web.get("/control/seen", stand_in.seen),
            web.post("/control/pair", stand_in.pair),
            web.route("*", "/api/{path:.*}", stand_in.api),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
