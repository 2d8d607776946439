"""`/validate-creds`: whether a registry takes a name and a password. The answer is a bare JSON boolean."""

from typing import Any

from litestar import Controller, Request, post
from litestar.di import NamedDependency

from gateway.http.bodies import read
from gateway.http.caller import Callers
from gateway.inspect import Inspector
from swell.api.inspect import CredentialsRequest, LegacyCredentialsRequest

Asked = Request[Any, Any, Any]


class CredentialsController(Controller):
    @post("/v1alpha2/validate-creds", status_code=200, request_max_body_size=None)  # `read` minds it
    async def validate(
        self, request: Asked, inspecting: NamedDependency[Inspector], callers: NamedDependency[Callers]
    ) -> bool:
        return await validated(request, await read(request, CredentialsRequest), inspecting, callers)

    @post("/validate-creds", status_code=200, request_max_body_size=None)
    async def validate_legacy(
        self, request: Asked, inspecting: NamedDependency[Inspector], callers: NamedDependency[Callers]
    ) -> bool:
        told = await read(request, LegacyCredentialsRequest)
        return await validated(request, told.request or told, inspecting, callers)


async def validated(request: Asked, credentials: CredentialsRequest, inspecting: Inspector, callers: Callers) -> bool:
    """Ask the registry. Each `false` counts as a guess: this server must not try passwords on a stranger's behalf."""
    address, guesses = callers.address(request.scope), callers.guesses
    secret = "\0".join(("login", *map(str, (credentials.registry, credentials.user_name, credentials.password))))
    if not guesses.knows(secret):
        guesses.check(address)
    if accepted := await inspecting.credentials(credentials):
        guesses.opened(secret)
    else:
        guesses.missed(address, None)
    return accepted
