"""`/v1alpha2/container`: ask for a container, and how far it is."""

from typing import Any

import msgspec
from litestar import Controller, Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.follow import Following
from gateway.provision import Provisioning
from swell.api.builds import ContainerStatus
from swell.api.containers import ContainerAnswer, ContainerRequest
from swell.errors import BadRequest, TooLarge

MAX_BODY = 10 << 20  # bytes of a request
_DRAINED = 5 * MAX_BODY

_DECODER = msgspec.json.Decoder(ContainerRequest, strict=False)


class ContainersController(Controller):
    path = "/v1alpha2/container"

    @post(status_code=200, request_max_body_size=None)  # for `read_body` minds it
    async def submit(
        self, request: Request[Any, Any, Any], provisioning: NamedDependency[Provisioning]
    ) -> ContainerAnswer:
        return await provisioning.submit(decoded(await read_body(request)))

    @get("/{request_id:str}/status")
    async def status(self, request_id: FromPath[str], following: NamedDependency[Following]) -> ContainerStatus:
        return await following.request(request_id)


async def read_body(request: Request[Any, Any, Any]) -> bytes:
    """The body of at most `MAX_BODY` bytes. More is read and dropped, within reason: many clients write all before they
    read any answer, and a connection that is closed before says nothing to them.

    Raises:
        TooLarge: it is larger.
    """
    size, pieces = 0, []
    async for piece in request.stream():
        size += len(piece)
        if size <= MAX_BODY:
            pieces.append(piece)
        elif size > _DRAINED:
            break
    if size > MAX_BODY:
        raise TooLarge(f"the request is larger than {MAX_BODY >> 20} MiB")
    return b"".join(pieces)


def decoded(body: bytes) -> ContainerRequest:
    """Read a request's JSON as Wave's clients write it: members may be null, numbers may be strings.

    Raises:
        BadRequest: it is no JSON, or a member has the wrong type; the message names the place.
    """
    try:
        return _DECODER.decode(body or b"null")
    except msgspec.DecodeError as error:
        raise BadRequest(f"the request body cannot be read: {error}") from error
