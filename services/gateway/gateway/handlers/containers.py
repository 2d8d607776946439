"""`/v1alpha2/container` and `/container-token`: submit a container request, read its status and its record.

Source: Wave's public API, https://docs.seqera.io/wave/api
"""

from typing import Any, Protocol

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.access.accounts import Accounts
from gateway.access.revoke import Revocations
from gateway.builds.queries import BuildQueries
from gateway.http.bodies import read
from gateway.http.caller import Callers
from gateway.submit.answer import token_description
from gateway.submit.submit import ContainerRequests
from swell.api.builds import ContainerStatus
from swell.api.containers import ContainerAnswer, ContainerRecord, ContainerRequest, TokenDescription


class LiveTokens(Protocol):
    async def take_token(self, user: str, address: str) -> None:
        """Count a token for *user*, or for *address* when *user* is empty.

        Raises:
            TooManyRequests: too many are live.
        """

    def return_token(self, user: str, address: str) -> None:
        """Reduce the count: no token was granted."""


class Submissions:
    """Decodes and submits container requests. It is the only dependency of its handlers, because Litestar resolves
    several dependencies in separate tasks, which is slower."""

    def __init__(self, container_requests: ContainerRequests, callers: Callers, live: LiveTokens) -> None:
        self._container_requests = container_requests
        self._callers = callers
        self._live = live

    async def submit(self, request: Request[Any, Any, Any], *, legacy: bool = False) -> ContainerAnswer:
        container_request = await read(request, ContainerRequest)
        caller = await self._callers.identify(
            request.scope, container_request.tower_access_token, container_request.tower_endpoint
        )
        user, address = caller.identity.user, caller.address
        await self._live.take_token(user, address)
        try:
            answer = await self._container_requests.submit(container_request, caller, legacy=legacy)
        except BaseException:
            self._live.return_token(user, address)
            raise
        for secret in (answer.container_token, answer.build_id):
            if secret:
                self._callers.guess_limiter.remember(secret)
        return answer


class ContainersController(Controller):
    path = "/v1alpha2/container"

    @post(status_code=200, request_max_body_size=None)  # `read` enforces the limit
    async def submit(
        self, request: Request[Any, Any, Any], submissions: NamedDependency[Submissions]
    ) -> ContainerAnswer:
        return await submissions.submit(request)

    @get("/{request_id:str}")
    async def record(self, request_id: FromPath[str], queries: NamedDependency[BuildQueries]) -> ContainerRecord:
        return await queries.container_record(request_id)

    @get("/{request_id:str}/status")
    async def status(self, request_id: FromPath[str], queries: NamedDependency[BuildQueries]) -> ContainerStatus:
        return await queries.container_status(request_id)


class TokensController(Controller):
    """The first version of the API, for older clients."""

    path = "/container-token"

    @post(status_code=200, request_max_body_size=None)
    async def submit(
        self, request: Request[Any, Any, Any], submissions: NamedDependency[Submissions]
    ) -> ContainerAnswer:
        return await submissions.submit(request, legacy=True)

    @get("/{token:str}")
    async def describe(self, token: FromPath[str], queries: NamedDependency[BuildQueries]) -> TokenDescription:
        return token_description(await queries.container_record(token))

    @delete("/{token:str}", status_code=200)
    async def revoke(
        self,
        request: Request[Any, Any, Any],
        token: FromPath[str],
        revocations: NamedDependency[Revocations],
        accounts: NamedDependency[Accounts],
        callers: NamedDependency[Callers],
    ) -> Response[str]:
        """Revoke a token; the response has no body, as in Wave."""
        await callers.require_operator(request.scope, accounts)
        await revocations.revoke(token)
        return Response("", media_type="text/plain")
