"""Requests to a Platform over HTTP without a socket: what is sent, and what is believed."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiohttp import web

from gateway.adapters.platform.direct import DirectTransport
from gateway.domain.platform import Platform
from gateway.platform.wire import MAX_BODY, PlatformRequest
from swell.errors import PlatformFailed, PlatformSlow, PlatformUnreachable
from swell.net.outbound import Policy, open_session
from tests.integration.registry_proxy.support import Script, said, serving


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    async with serving() as script:
        yield script


@pytest.fixture
async def direct(script: Script) -> AsyncIterator[DirectTransport]:
    async with open_session(Policy(frozenset({script.authority}))) as session:
        yield DirectTransport(session, timedelta(seconds=1))


def request(script: Script, path: str, **more: str) -> tuple[Platform, PlatformRequest]:
    url = f"http://{script.authority}"
    return Platform(endpoint=url, direct=True), PlatformRequest(
        method=more.get("method", "GET"), url=url + path, auth="Bearer token", body=more.get("body")
    )


async def test_status_body_and_all_cookies_come_back(script: Script, direct: DirectTransport) -> None:
    """Names of headers are in lower case, as through the socket."""

    async def answer(asked: web.Request) -> web.Response:
        response = web.Response(status=401, text=await asked.text() + asked.path_qs)
        response.headers.add("Set-Cookie", "JWT=1; Path=/")
        response.headers.add("Set-Cookie", "JWT_REFRESH_TOKEN=2; Path=/")
        return response

    script.on("/a", answer)
    answer_ = await direct.send(*request(script, "/a?x=%2F&y=1", method="POST", body="form"))

    assert (answer_.status, answer_.body) == (401, "form/a?x=%2F&y=1")
    assert answer_.headers["set-cookie"] == ("JWT=1; Path=/", "JWT_REFRESH_TOKEN=2; Path=/")
    assert script.asked("/a") == ["Bearer token"]


async def test_a_redirect_is_not_followed(script: Script, direct: DirectTransport) -> None:
    """It could lead the token to another host."""
    script.on("/a", said(302, Location=f"http://{script.authority}/b"))

    assert (await direct.send(*request(script, "/a"))).status == 302
    assert not script.asked("/b")


async def test_large_and_missing_answers_are_errors(script: Script, direct: DirectTransport) -> None:
    """Within the timeout, and the size of an answer."""
    script.on("/large", said(body=b"x" * (MAX_BODY + 1)))
    with pytest.raises((PlatformFailed, PlatformUnreachable)):
        await direct.send(*request(script, "/large"))
    platform = Platform(endpoint="http://127.0.0.1:1", direct=True)
    with pytest.raises((PlatformUnreachable, PlatformSlow)):
        await direct.send(platform, PlatformRequest(method="GET", url="http://127.0.0.1:1/a"))
