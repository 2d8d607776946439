"""The cookie with which the page of a build can cancel it: the id of the request that this browser sent."""

from litestar.datastructures import Cookie

from gateway.http.bodies import HttpRequest

_NAME = "request"
_SECONDS = 24 * 3600


def request_cookie(path: str, request_id: str, *, is_secure: bool) -> Cookie:
    """A cookie that only the page at *path* and those below it get, and only from pages of this server."""
    return Cookie(
        _NAME, path=path, value=request_id, max_age=_SECONDS, secure=is_secure, httponly=True, samesite="strict"
    )


def request_of(request: HttpRequest) -> str | None:
    """The id of the request in the cookie of *request*."""
    return request.cookies.get(_NAME)
