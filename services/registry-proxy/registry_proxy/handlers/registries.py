"""The gRPC service `swell.rpc.v1.Registries`: checks of registry credentials."""

from typing import Protocol

from swell.oci.reference import parse_registry
from swell.registry.credentials.keyring import Credentials
from swell.rpc.server import answers
from swell.rpc.v1 import registries_pb2 as pb
from swell.rpc.v1.registries_pb2_grpc import RegistriesServicer


class Logins(Protocol):
    async def accepts(self, registry: str, credentials: Credentials) -> bool: ...


class RegistriesHandler(RegistriesServicer):
    def __init__(self, logins: Logins) -> None:
        self._logins = logins

    @answers
    async def CheckCredentials(self, request: pb.CheckCredentialsRequest) -> pb.CheckCredentialsResponse:
        credentials = Credentials(request.user_name, request.password)
        return pb.CheckCredentialsResponse(
            valid=await self._logins.accepts(parse_registry(request.registry), credentials)
        )
