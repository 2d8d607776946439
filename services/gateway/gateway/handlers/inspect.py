"""`/v1alpha1/inspect`: the manifest, the config and the layers of an image."""

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.domain.access.identity import Scope
from gateway.domain.platform import Login
from gateway.http.bodies import HttpRequest, read
from gateway.http.caller import Callers
from gateway.inspect import Inspector
from swell.api.inspect import Inspection, InspectRequest


class InspectController(Controller):
    path = "/v1alpha1/inspect"

    @post(status_code=200, request_max_body_size=None)  # `read` limits the size
    async def inspect(
        self,
        request: HttpRequest,
        inspector: NamedDependency[Inspector],
        callers: NamedDependency[Callers],
        platform: FromQuery[str | None] = None,
        referrers: FromQuery[bool] = False,
    ) -> Inspection:
        body = await read(request, InspectRequest)
        caller = await callers.identify(request.scope, login=Login.of(body))
        caller.identity.require(Scope.INSPECT)
        return await inspector.image(body, platform, caller, referrers=referrers)
