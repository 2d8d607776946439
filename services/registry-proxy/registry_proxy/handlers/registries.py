"""The gRPC service `swell.rpc.v1.Registries`: checks of registry credentials."""

from functools import partial
from typing import Protocol

from swell.oci.reference import parse_registry
from swell.registry.credentials import Credentials
from swell.rpc.server import Context, answer
from swell.rpc.v1 import registries_pb2 as pb
from swell.rpc.v1.registries_pb2_grpc import RegistriesServicer


class Logins(Protocol):
    async def accepts(self, registry: str, credentials: Credentials) -> bool: ...


class RegistriesHandler(RegistriesServicer):
    def __init__(self, logins: Logins) -> None:
        self._logins = logins

    async def CheckCredentials(
        self, request: pb.CheckCredentialsRequest, context: Context
    ) -> pb.CheckCredentialsResponse:
        return await answer(context, "CheckCredentials", partial(self._check, request))

    async def _check(self, request: pb.CheckCredentialsRequest) -> pb.CheckCredentialsResponse:
        credentials = Credentials(request.user_name, request.password)
        return pb.CheckCredentialsResponse(
            valid=await self._logins.accepts(parse_registry(request.registry), credentials)
        )
