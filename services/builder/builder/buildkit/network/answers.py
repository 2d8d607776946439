"""Answers of the push gateway to buildkitd."""

from aiohttp import ClientResponse, web

from swell.errors import UpstreamFailed

ANY_TYPE = "application/octet-stream"
MANIFEST_BYTES = 16 << 20
_HEADERS = ("Content-Type", "Docker-Content-Digest", "Range", "Content-Length", "Docker-Upload-UUID")


def error(status: int, code: str, message: str) -> web.Response:
    """Return an error as the distribution-spec writes it."""
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status)


def found(digest: str, status: int = 200) -> web.Response:
    """Return the answer that *digest* is stored."""
    return web.Response(status=status, headers={"Docker-Content-Digest": digest})


def headers_of(response: ClientResponse) -> dict[str, str]:
    """Return the headers of a registry's *response* that are passed on."""
    return {name: response.headers[name] for name in _HEADERS if name in response.headers}


async def read_manifest(request: web.BaseRequest) -> bytes:
    """Return the manifest that *request* sends.

    Raises:
        UpstreamFailed: it is too large.
    """
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > MANIFEST_BYTES:
            raise UpstreamFailed("the manifest is too large")
    return bytes(body)
