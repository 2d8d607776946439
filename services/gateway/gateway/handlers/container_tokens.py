"""`/container-token`: the first version of the API, for older clients.

Source: Wave's public API, https://docs.seqera.io/wave/api
"""

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.access.accounts.accounts import Accounts
from gateway.access.revoke import Revocations
from gateway.builds.queries import BuildQueries
from gateway.domain.access.record_access import Resource
from gateway.handlers.submissions import Submissions
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers
from gateway.http.read_guard import reads
from gateway.submit.answer import token_description
from swell.api.containers import ContainerAnswer, TokenDescription


class TokensController(Controller):
    path = "/container-token"

    @post(status_code=200, request_max_body_size=None)
    async def submit(self, request: HttpRequest, submissions: NamedDependency[Submissions]) -> ContainerAnswer:
        return await submissions.read(request.scope, request.receive, legacy=True)

    @get("/{token:str}", opt=reads(Resource.CONTAINER))
    async def describe(self, token: FromPath[str], queries: NamedDependency[BuildQueries]) -> TokenDescription:
        return token_description(await queries.container_record(token))

    @delete("/{token:str}", status_code=200)
    async def revoke(
        self,
        request: HttpRequest,
        token: FromPath[str],
        revocations: NamedDependency[Revocations],
        accounts: NamedDependency[Accounts],
        callers: NamedDependency[Callers],
    ) -> Response[str]:
        """Revoke a token; the response has no body, as in Wave."""
        operator = await callers.require_operator(request.scope, accounts)
        await revocations.revoke(token, operator)
        return Response("", media_type="text/plain")
