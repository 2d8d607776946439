"""`/v1alpha1/inspect`: the manifest, the config and the layers of an image."""

from typing import Any

from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.domain.identity import Scope
from gateway.domain.platform import Login
from gateway.http.bodies import read
from gateway.http.caller import Callers
from gateway.inspect import Inspector
from swell.api.inspect import Inspection, InspectRequest


class InspectController(Controller):
    path = "/v1alpha1/inspect"

    @post(status_code=200, request_max_body_size=None)  # `read` limits the size
    async def inspect(
        self,
        request: Request[Any, Any, Any],
        inspector: NamedDependency[Inspector],
        callers: NamedDependency[Callers],
        platform: FromQuery[str | None] = None,
    ) -> Inspection:
        body = await read(request, InspectRequest)
        caller = await callers.identify(
            request.scope,
            login=Login(
                token=body.tower_access_token,
                endpoint=body.tower_endpoint,
                refresh_token=body.tower_refresh_token or None,
                workspace_id=body.tower_workspace_id,
                workflow_id=body.workflow_id or None,
            ),
        )
        caller.identity.require(Scope.INSPECT)
        return await inspector.image(body, platform, caller.principal, caller.identity)
