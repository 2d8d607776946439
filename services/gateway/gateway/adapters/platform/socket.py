"""A pairing socket: requests to one Seqera Platform over the WebSocket that it has opened, matched to their answers.

The messages are JSON objects with the member `@type`, as Platform and Wave exchange them.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
from msgspec import Struct

from gateway.domain.platform import Platform
from gateway.platform.wire import MAX_BODY, MAX_HEADERS, PlatformAnswer, PlatformRequest
from swell.errors import PlatformFailed, PlatformSlow, PlatformUnreachable
from swell.log import log

MAX_MESSAGE = 1 << 20
"""Characters of a message from Platform."""
MAX_PENDING = 500
"""Requests of one socket that wait for their answers."""
UNREQUESTED_PER_MINUTE = 300
"""Heartbeats, and answers to no request. A Platform that sends more is disconnected."""


class _Message(Struct, frozen=True, rename="camel", tag_field="@type", omit_defaults=True):
    msg_id: str = ""


class PairingResponse(_Message, frozen=True, kw_only=True, rename="camel", tag_field="@type", tag="pairing-response"):
    """`packets` is Swell's addition: the version of the encrypted packets of this pairing, if it is not 1."""

    pairing_id: str
    public_key: str
    packets: int = 1


class Heartbeat(_Message, frozen=True, tag_field="@type", tag="pairing-heartbeat", rename="camel"):
    pass


class ProxyRequest(_Message, frozen=True, kw_only=True, rename="camel", tag_field="@type", tag="proxy-http-request"):
    method: str
    uri: str
    auth: str | None
    body: str | None
    headers: dict[str, tuple[str, ...]]


class ProxyResponse(_Message, frozen=True, kw_only=True, rename="camel", tag_field="@type", tag="proxy-http-response"):
    status: int
    body: str | None = None
    headers: dict[str, tuple[str, ...]] | None = None


Received = Heartbeat | ProxyResponse
_RECEIVED: msgspec.json.Decoder[Received] = msgspec.json.Decoder(Received)
_SENT = msgspec.json.Encoder()


def new_message_id() -> str:
    return secrets.token_hex(16)


def encoded(message: _Message) -> str:
    return _SENT.encode(message).decode()


def received(text: str) -> Received | None:
    """Return the message in *text*; None if it is of another type, or malformed."""
    try:
        return _RECEIVED.decode(text)
    except (msgspec.MsgspecError, RecursionError):  # RecursionError: it is nested too deeply
        return None


class PairingSocket:
    """Sends requests with *send*, each with a random id, and waits for the answer with the same id.

    An answer is for exactly the request whose id it has; an answer to no pending request is dropped.
    """

    def __init__(self, platform: Platform, send: Callable[[str], Awaitable[None]], timeout: timedelta) -> None:
        self.platform = platform
        self._send = send
        self._seconds = timeout.total_seconds()
        self._pending: dict[str, asyncio.Future[PlatformAnswer]] = {}
        self._is_closed = False

    async def request(self, request: PlatformRequest) -> PlatformAnswer:
        """Send *request* and return its answer.

        Raises:
            PlatformSlow: there is no answer in time.
            PlatformUnreachable: the socket is closed, or too many requests wait.
            PlatformFailed: the answer is too large.
        """
        if self._is_closed:
            raise PlatformUnreachable
        if len(self._pending) >= MAX_PENDING:
            raise PlatformUnreachable("too many requests wait for the Seqera Platform", retry_after=5)
        message_id = new_message_id()
        answer: asyncio.Future[PlatformAnswer] = asyncio.get_running_loop().create_future()
        self._pending[message_id] = answer
        try:
            async with asyncio.timeout(self._seconds):
                await self._send(encoded(_proxied(message_id, request)))
                return await answer
        except TimeoutError as error:
            raise PlatformSlow(f"the Platform at {self.platform.endpoint} does not answer in time") from error
        finally:
            self._pending.pop(message_id, None)

    def on_response(self, response: ProxyResponse) -> bool:
        """Pass *response* to its request; returns whether one waits for it."""
        answer = self._pending.get(response.msg_id)
        if answer is None or answer.done():
            log.info("answer of a Platform to no request", endpoint=self.platform.endpoint)
            return False
        headers = {name.lower(): values for name, values in (response.headers or {}).items()}
        body = response.body or ""
        if (
            len(body.encode()) > MAX_BODY
            or sum(len(name) + len(str(each)) for name, each in headers.items()) > MAX_HEADERS
        ):
            answer.set_exception(PlatformFailed(f"the Platform at {self.platform.endpoint} sends a too large answer"))
        else:
            answer.set_result(PlatformAnswer(status=response.status, body=body, headers=headers))
        return True

    def close(self) -> None:
        """Fail all requests that wait."""
        self._is_closed = True
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(PlatformUnreachable("the connection of the Seqera Platform was closed"))


def _proxied(message_id: str, request: PlatformRequest) -> ProxyRequest:
    return ProxyRequest(
        msg_id=message_id,
        method=request.method,
        uri=request.url,
        auth=request.auth,
        body=request.body,
        headers=dict(request.headers),
    )
