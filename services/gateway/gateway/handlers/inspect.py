"""`/v1alpha1/inspect`: what an image is made of, and how it runs."""

from typing import Any

from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.http.bodies import read
from gateway.http.caller import Callers
from gateway.inspect import Inspector
from swell.api.inspect import Inspection, InspectRequest


class InspectController(Controller):
    path = "/v1alpha1/inspect"

    @post(status_code=200, request_max_body_size=None)  # `read` minds it
    async def inspect(
        self,
        request: Request[Any, Any, Any],
        inspecting: NamedDependency[Inspector],
        callers: NamedDependency[Callers],
        platform: FromQuery[str | None] = None,
    ) -> Inspection:
        asked = await read(request, InspectRequest)
        caller = await callers.of(request.scope, asked.tower_access_token, asked.tower_endpoint)
        return await inspecting.image(asked, platform, caller.principal)
