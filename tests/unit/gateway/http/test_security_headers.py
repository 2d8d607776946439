"""What goes with every answer, for the sake of browsers."""

from typing import Any

import pytest

from gateway.http.security_headers import SecurityHeaders


async def answered(*headers: tuple[bytes, bytes], tls: bool = False, agent: bytes = b"curl") -> dict[str, Any]:
    """The start of an answer that has *headers* already."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b""})

    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "path": "/x", "headers": [(b"user-agent", agent)]}
    await SecurityHeaders(app, tls=tls)(scope, receive, send)
    return sent[0]


@pytest.mark.parametrize("tls", [True, False])
async def test_browsers_remember_https_where_there_is_https(tls: bool) -> None:
    """Without https, a browser that stored this header could not connect for a year."""
    names = {name for name, _ in (await answered(tls=tls))["headers"]}

    assert (b"strict-transport-security" in names) == tls
    assert b"x-content-type-options" in names


async def test_what_others_wrote_has_no_origin_and_no_type_but_the_one_it_is_given() -> None:
    """Logs, lock files, manifests and blobs: a browser neither guesses a type nor runs anything in them."""
    headers = dict((await answered())["headers"])

    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"sandbox" in headers[b"content-security-policy"].split(b"; ")
    assert b"set-cookie" not in headers


async def test_a_page_keeps_its_own_policy() -> None:
    """Two would both count, and a page that needs styles would have none."""
    own = (b"content-security-policy", b"default-src 'self'")

    assert [each for each in (await answered(own))["headers"] if each[0] == own[0]] == [own]


@pytest.mark.parametrize(
    ("agent", "status"),
    [
        (b"Mozilla/5.0 (compatible; bingbot/2.0)", 405),
        (b"DuckDuckBot/1.1", 405),
        (b"Java-http-client/17.0.15", 200),
        (b"", 200),
        (b"\xff", 200),
    ],
)
async def test_crawlers_are_recognised_by_their_user_agent(agent: bytes, status: int) -> None:
    """The user agent decides, in any case of letters."""
    assert (await answered(agent=agent))["status"] == status
