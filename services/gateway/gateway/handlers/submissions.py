"""Container requests: `POST /v1alpha2/container`, and `POST /container-token` for older clients, over bare ASGI.

Pipelines send thousands of them, and passing Litestar takes as long as storing the grant.

Source: Wave's public API, https://docs.seqera.io/wave/api
"""

from typing import Protocol

import msgspec
from litestar.types import Receive, Scope, Send

from gateway.access.shares import Shares, client_of
from gateway.domain.platform import Login
from gateway.http.bodies import read_json
from gateway.http.caller import Callers
from gateway.http.errors import expected, send_error
from gateway.http.large_bodies import reservation_of
from gateway.submit.rules.layers import MAX_INLINE, ZLIB_SCHEME, inline_layers
from gateway.submit.submit import ContainerRequests
from swell.api.containers import ContainerAnswer, ContainerRequest

_LEGACY = "/container-token"
AT_ONCE = 32
"""Requests of one client that wait for registries, or are solved, at a time."""


class LiveTokens(Protocol):
    async def take_token(self, user: str, address: str) -> None:
        """Count a token for *user*, or for *address* when *user* is empty.

        Raises:
            TooManyRequests: too many are live.
        """

    def return_token(self, user: str, address: str) -> None:
        """Reduce the count: no token was granted."""


class Submissions:
    """Submits container requests of the API and of pages."""

    def __init__(self, container_requests: ContainerRequests, callers: Callers, live: LiveTokens) -> None:
        self._container_requests = container_requests
        self._callers = callers
        self._live = live
        self._shares = Shares(AT_ONCE)

    async def read(self, scope: Scope, receive: Receive, *, legacy: bool = False) -> ContainerAnswer:
        """Submit the container request in the body of the request *scope*."""
        return await self.send(scope, await read_json(scope, receive, ContainerRequest), legacy=legacy)

    async def send(self, scope: Scope, container_request: ContainerRequest, *, legacy: bool = False) -> ContainerAnswer:
        """Submit *container_request* for the sender of the request *scope*."""
        caller = await self._callers.identify(scope, login=Login.of(container_request))
        user, address = caller.identity.user, caller.address
        client = client_of(caller)
        if not self._shares.take_at_once(client):
            await self._shares.take(client)
        try:
            await _reserve_inflated(scope, container_request)
            await self._live.take_token(user, address)
            try:
                answer = await self._container_requests.submit(container_request, caller, legacy=legacy)
            except BaseException:
                self._live.return_token(user, address)
                raise
        finally:
            self._shares.give_back(client)
        for secret in (answer.container_token, answer.build_id):
            if secret:
                self._callers.guess_limiter.remember(secret)
        return answer


async def _reserve_inflated(scope: Scope, container_request: ContainerRequest) -> None:
    """Wait for the memory of layers that are packed twice: a request of a kilobyte can have megabytes of them."""
    if any(each.startswith(ZLIB_SCHEME) for each in inline_layers(container_request)):
        reservation = reservation_of(scope)
        await reservation.take(max(MAX_INLINE - reservation.size, 0))


class SubmissionsHandler:
    """Answers the request *scope*. `LargeBodies` has to wrap it, as it limits the memory for bodies."""

    def __init__(self, submissions: Submissions) -> None:
        self._submissions = submissions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["path_template"] = path = scope["path"]  # for the metrics, as Litestar sets it
        try:
            answer = await self._submissions.read(scope, receive, legacy=path == _LEGACY)
        except Exception as error:  # noqa: BLE001  the edge: every error becomes a body
            await send_error(scope, send, expected(error))
            return
        body = msgspec.json.encode(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
