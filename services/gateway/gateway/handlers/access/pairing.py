"""`GET /pairing/{service}/token/{token}?endpoint=…`: the WebSocket that a Seqera Platform opens and keeps open.

Source: ASGI, "WebSocket", https://asgi.readthedocs.io/en/latest/specs/www.html#websocket
"""

import asyncio
import re
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from urllib.parse import parse_qs

from litestar.types import Scope

from gateway.access.guess_limiter import GuessLimiter
from gateway.adapters.platform.routing import Sockets
from gateway.adapters.platform.socket import (
    MAX_MESSAGE,
    UNREQUESTED_PER_MINUTE,
    Heartbeat,
    PairingResponse,
    PairingSocket,
    ProxyResponse,
    encoded,
    new_message_id,
    received,
)
from gateway.domain.platform import Platform, Platforms
from gateway.http.asgi import Message, Receive, Send
from gateway.http.caller import ClientAddress
from gateway.platform.pairings import PACKET_VERSIONS, Pairing, Pairings
from swell.errors import TooManyRequests, Unauthorized, Unavailable
from swell.log import log

GOING_AWAY, POLICY_VIOLATION, TOO_BIG, RESTART, TRY_LATER = 1001, 1008, 1009, 1012, 1013
PATH = re.compile(r"/pairing/([^/]{1,32})/token/([^/]{1,1024})/?")
SERVICE = "tower"
MAX_QUERY = 2048
SEND_SECONDS = 10.0


class PairingHandler:
    """Serves pairing sockets. A Platform that is silent for longer than *silence* is disconnected."""

    def __init__(
        self,
        platforms: Platforms,
        pairings: Pairings,
        sockets: Sockets,
        address: ClientAddress,
        guess_limiter: GuessLimiter,
        *,
        timeout: timedelta,
        silence: timedelta,
    ) -> None:
        self._platforms = platforms
        self._pairings = pairings
        self._sockets = sockets
        self._address = address
        self._guess_limiter = guess_limiter
        self._timeout = timeout
        self._silence = silence.total_seconds()
        self._connections: set[_Connection] = set()

    def close(self) -> None:
        """Close all sockets, so that the Platforms connect to other gateways."""
        for connection in self._connections:
            connection.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        await send({"type": "websocket.accept"})
        try:
            platform, packets = self._authenticated(scope)
        except (Unauthorized, TooManyRequests) as error:
            log.warning("pairing refused", client=self._address(scope), error=str(error))
            await _close(send, POLICY_VIOLATION, "the endpoint and its token are not known here")
            return
        connection = _Connection(platform, receive, send, self._timeout, self._silence)
        code, reason = GOING_AWAY, "the server stops"
        try:
            pairing = await self._pairings.open(platform, packets)
            self._connections.add(connection)
            async with self._sockets.holding(connection.socket):
                await connection.send_text(encoded(_pairing_response(pairing)))
                log.info("Platform paired", endpoint=platform.endpoint, pairing=pairing.id)
                code, reason = await connection.serve(pairing.id, self._pairings)
        except (Unavailable, TimeoutError) as error:
            code, reason = TRY_LATER, str(error)[:100]
        finally:
            self._connections.discard(connection)
        log.info("Platform disconnected", endpoint=platform.endpoint, code=code, reason=reason)
        await _close(send, code, reason)

    def _authenticated(self, scope: Scope) -> tuple[Platform, int]:
        """Return the Platform of the endpoint in the query, whose secret is in the path, and the version of packets.

        Raises:
            Unauthorized: the operator has not named the endpoint, or the secret is not its own.
            TooManyRequests: too many were tried from this address.
        """
        match, query = PATH.fullmatch(scope["path"]), scope["query_string"]
        fields = parse_qs(query.decode("latin-1"), max_num_fields=8) if len(query) <= MAX_QUERY else {}
        endpoint, secret = fields.get("endpoint", [""])[0], match[2] if match else ""
        with self._guess_limiter.attempt(self._address(scope), f"pairing {endpoint} {secret}"):
            platform = self._platforms.find(endpoint) if endpoint else None
            if not (match and match[1] == SERVICE and platform and platform.opens(secret)):
                raise Unauthorized(f"a pairing socket for {endpoint[:200]!r} has no valid token")
        offered = {each for each in fields.get("packets", [""])[0].split(",")[:8] if each.isascii() and each.isdigit()}
        return platform, max((each for each in PACKET_VERSIONS if str(each) in offered), default=1)


class _Connection:
    """One accepted socket."""

    def __init__(self, platform: Platform, receive: Receive, send: Send, timeout: timedelta, silence: float) -> None:
        self.platform = platform
        self.socket = PairingSocket(platform, self.send_text, timeout)
        self._receive = receive
        self._send = send
        self._silence = silence
        self._unrequested = float(UNREQUESTED_PER_MINUTE)
        self._counted = monotonic()
        self._deadline: asyncio.Timeout | None = None
        self._is_stopping = False

    async def send_text(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    async def serve(self, pairing_id: str, pairings: Pairings) -> tuple[int, str]:
        """Handle messages until the socket must be closed; return the code and the reason."""
        try:
            async with asyncio.timeout(None) as self._deadline:
                while True:
                    self._deadline.reschedule(asyncio.get_running_loop().time() + self._silence)
                    if closing := await self._on_event(await self._receive(), pairing_id, pairings):
                        return closing
        except TimeoutError:
            return (RESTART, "the server stops") if self._is_stopping else (GOING_AWAY, "no heartbeat")

    def stop(self) -> None:
        """Make `serve` return."""
        self._is_stopping = True
        if self._deadline and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time())

    async def _on_event(self, event: Message, pairing_id: str, pairings: Pairings) -> tuple[int, str] | None:
        if event["type"] != "websocket.receive":
            return GOING_AWAY, "closed by the Platform"
        text = event.get("text") or ""
        if len(text) > MAX_MESSAGE:
            return TOO_BIG, "a message is too large"
        return await self._on_message(received(text), pairing_id, pairings)

    async def _on_message(
        self, message: Heartbeat | ProxyResponse | None, pairing_id: str, pairings: Pairings
    ) -> tuple[int, str] | None:
        if isinstance(message, ProxyResponse) and self.socket.on_response(message):
            return None
        if not self._may_send():
            return POLICY_VIOLATION, "too many messages"
        if isinstance(message, Heartbeat):
            if not await pairings.is_current(self.platform, pairing_id):
                return GOING_AWAY, "the pairing has ended; pair again"
            async with asyncio.timeout(SEND_SECONDS):
                await self.send_text(encoded(Heartbeat(msg_id=new_message_id())))
        return None

    def _may_send(self) -> bool:
        now = monotonic()
        earned = (now - self._counted) * UNREQUESTED_PER_MINUTE / 60
        self._unrequested, self._counted = min(self._unrequested + earned, UNREQUESTED_PER_MINUTE) - 1, now
        return self._unrequested >= 0


def _pairing_response(pairing: Pairing) -> PairingResponse:
    return PairingResponse(
        msg_id=new_message_id(),
        pairing_id=pairing.id,
        public_key=pairing.encoded_public_key,
        packets=pairing.packets,
    )


async def _close(send: Send, code: int, reason: str) -> None:
    with suppress(Exception):  # the connection may be closed already
        await send({"type": "websocket.close", "code": code, "reason": reason})
