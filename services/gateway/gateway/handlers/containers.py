"""`/v1alpha2/container`: submit a container request, read its status and its record.

Source: Wave's public API, https://docs.seqera.io/wave/api
"""

from typing import Protocol

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.types import Scope

from gateway.access.leases import TokenLeases
from gateway.builds.queries import BuildQueries
from gateway.domain.platform import Login
from gateway.domain.record_access import Resource
from gateway.http.bodies import HttpRequest, read
from gateway.http.caller import Callers
from gateway.http.read_guard import reads
from gateway.submit.submit import ContainerRequests
from swell.api.builds import ContainerStatus
from swell.api.containers import ContainerAnswer, ContainerRecord, ContainerRequest
from swell.api.leases import LeaseAnswer, ReturnedLease


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

    async def submit(self, request: HttpRequest, *, legacy: bool = False) -> ContainerAnswer:
        return await self.send(request.scope, await read(request, ContainerRequest), legacy=legacy)

    async def send(self, scope: Scope, container_request: ContainerRequest, *, legacy: bool = False) -> ContainerAnswer:
        """Submit *container_request* for the sender of the request *scope*."""
        caller = await self._callers.identify(scope, login=Login.of(container_request))
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
    async def submit(self, request: HttpRequest, submissions: NamedDependency[Submissions]) -> ContainerAnswer:
        return await submissions.submit(request)

    @get("/{request_id:str}", opt=reads(Resource.CONTAINER))
    async def record(self, request_id: FromPath[str], queries: NamedDependency[BuildQueries]) -> ContainerRecord:
        return await queries.container_record(request_id)

    @post("/{request_id:str}/lease", status_code=200)
    async def hold_lease(
        self,
        request_id: FromPath[str],
        token_leases: NamedDependency[TokenLeases],
        leaseId: FromQuery[str | None] = None,  # noqa: N803  the name in the API
    ) -> LeaseAnswer:
        return await token_leases.hold(request_id, leaseId)

    @delete("/{request_id:str}/lease", status_code=200)
    async def return_lease(
        self,
        request_id: FromPath[str],
        token_leases: NamedDependency[TokenLeases],
        leaseId: FromQuery[str],  # noqa: N803
    ) -> ReturnedLease:
        return await token_leases.give_back(request_id, leaseId)

    @get("/{request_id:str}/status", opt=reads(Resource.CONTAINER_STATUS))
    async def status(self, request_id: FromPath[str], queries: NamedDependency[BuildQueries]) -> ContainerStatus:
        return await queries.container_status(request_id)
