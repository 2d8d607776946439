"""`/v1alpha2/container`: submit a container request, read its status and its record.

Source: Wave's public API, https://docs.seqera.io/wave/api
"""

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from gateway.access.leases import TokenLeases
from gateway.builds.queries import BuildQueries
from gateway.domain.access.record_access import Resource
from gateway.handlers.submissions import Submissions
from gateway.http.bodies import HttpRequest
from gateway.http.read_guard import reads
from swell.api.builds import ContainerStatus
from swell.api.containers import ContainerAnswer, ContainerRecord
from swell.api.leases import LeaseAnswer, ReturnedLease


class ContainersController(Controller):
    path = "/v1alpha2/container"

    @post(status_code=200, request_max_body_size=None)  # `read` enforces the limit
    async def submit(self, request: HttpRequest, submissions: NamedDependency[Submissions]) -> ContainerAnswer:
        return await submissions.read(request.scope, request.receive)

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
