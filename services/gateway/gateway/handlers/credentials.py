"""`/validate-creds`: whether a registry takes a name and a password. The answer is a bare JSON boolean."""

from typing import Any

from litestar import Controller, Request, post
from litestar.di import NamedDependency

from gateway.handlers.bodies import read
from gateway.inspect import Inspecting
from swell.api.inspect import CredentialsRequest, LegacyCredentialsRequest


class CredentialsController(Controller):
    @post("/v1alpha2/validate-creds", status_code=200, request_max_body_size=None)  # `read` minds it
    async def validate(self, request: Request[Any, Any, Any], inspecting: NamedDependency[Inspecting]) -> bool:
        return await inspecting.credentials(await read(request, CredentialsRequest))

    @post("/validate-creds", status_code=200, request_max_body_size=None)
    async def validate_legacy(self, request: Request[Any, Any, Any], inspecting: NamedDependency[Inspecting]) -> bool:
        told = await read(request, LegacyCredentialsRequest)
        return await inspecting.credentials(told.request or told)
