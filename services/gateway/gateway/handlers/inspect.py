"""`/v1alpha1/inspect`: what an image is made of, and how it runs."""

from typing import Any

from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.handlers.bodies import read
from gateway.handlers.caller import Callers
from gateway.inspect import Inspecting
from swell.api.inspect import Inspection, InspectRequest


class InspectController(Controller):
    path = "/v1alpha1/inspect"

    @post(status_code=200, request_max_body_size=None)  # `read` minds it
    async def inspect(
        self,
        request: Request[Any, Any, Any],
        inspecting: NamedDependency[Inspecting],
        callers: NamedDependency[Callers],
        platform: FromQuery[str | None] = None,
    ) -> Inspection:
        asked = await read(request, InspectRequest)
        caller = await callers.of(request.scope, asked.tower_access_token, asked.tower_endpoint)
        return await inspecting.image(asked, platform, caller.principal)
