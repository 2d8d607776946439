"""`/validate-creds`: whether a registry accepts a user name and a password. The response is a bare JSON boolean."""

from litestar import Controller, post
from litestar.di import NamedDependency

from gateway.domain.access.identity import Caller
from gateway.http.bodies import HttpRequest, read
from gateway.http.caller import Callers
from gateway.inspect import Inspector
from swell.api.inspect import CredentialsRequest, LegacyCredentialsRequest


class CredentialsController(Controller):
    @post("/v1alpha2/validate-creds", status_code=200, request_max_body_size=None)  # `read` limits the size
    async def validate(
        self, request: HttpRequest, inspector: NamedDependency[Inspector], callers: NamedDependency[Callers]
    ) -> bool:
        caller = await callers.identify(request.scope)  # anonymous clients may not always send requests
        return await validated(caller, await read(request, CredentialsRequest), inspector, callers)

    @post("/validate-creds", status_code=200, request_max_body_size=None)
    async def validate_legacy(
        self, request: HttpRequest, inspector: NamedDependency[Inspector], callers: NamedDependency[Callers]
    ) -> bool:
        caller = await callers.identify(request.scope)
        body = await read(request, LegacyCredentialsRequest)
        return await validated(caller, body.request or body, inspector, callers)


async def validated(caller: Caller, credentials: CredentialsRequest, inspector: Inspector, callers: Callers) -> bool:
    """Check the credentials at the registry.

    Each `false` counts as a guess, so that this server cannot be used to guess passwords of registries.
    """
    address, guess_limiter = caller.address, callers.guess_limiter
    secret = "\0".join(("login", *map(str, (credentials.registry, credentials.user_name, credentials.password))))
    if not guess_limiter.is_known(secret):
        guess_limiter.check(address)
    if accepted := await inspector.credentials(credentials, caller):
        guess_limiter.remember(secret)
    else:
        guess_limiter.count_miss(address, None)
    return accepted
