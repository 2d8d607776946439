"""What an id names: `bd-…` a build, `mr-…` a mirror, `sc-…` a scan; other texts are ids of requests."""

from typing import TYPE_CHECKING

from swell_client import SwellClientError

if TYPE_CHECKING:
    from swell_client import Client


def is_build(id: str) -> bool:  # noqa: A002 - the word of the API
    return id.startswith(("bd-", "mr-"))


def build_of(client: "Client", id: str) -> str:  # noqa: A002
    """The build or mirror *id*, or that of the request *id*; the name of an image with a token counts as its request.

    Raises:
        SwellClientError: the request has none.
    """
    if is_build(id):
        return id
    status = client.container_status(request_of(id))
    if not (build_id := status.build_id or status.mirror_id):
        raise SwellClientError(f"{id} needs no build: its image exists")
    return build_id


def request_of(id: str) -> str:  # noqa: A002
    """The id of the request in *id*, which can be a name such as `localhost:9090/wt/TOKEN/library/busybox`."""
    _, found, rest = id.partition("/wt/")
    return rest.partition("/")[0] if found else id
