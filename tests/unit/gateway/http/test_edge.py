"""What every request passes first: its destination, checks, and the headers of its response."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.http.asgi import PIECE
from gateway.http.edge import Edge
from gateway.http.middleware.request_log import shown
from gateway.http.middleware.security_headers import is_crawler
from swell.observe.spans import Span, recording

Message = dict[str, Any]


def scope_of(path: str, agent: bytes = b"curl", hosts: int = 1) -> Any:
    headers = [(b"user-agent", agent), *[(b"host", b"localhost")] * hosts]
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
    }


def application(*bodies: Message, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Any:
    """An application that answers with *headers* and the messages *bodies*."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        for body in bodies or ({"body": b""},):
            await send({"type": "http.response.body", **body})

    return app


async def sent_by(edge: Edge, scope: Any) -> list[Message]:
    """The messages of the response to *scope*."""
    sent: list[Message] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await edge(scope, receive, send)
    return sent


async def answered(*headers: tuple[bytes, bytes], tls: bool = False, agent: bytes = b"curl") -> Message:
    """The start of a response to which the application gave *headers*."""
    app = application(headers=headers)
    return (await sent_by(Edge(app, app, tls=tls), scope_of("/x", agent)))[0]


@pytest.mark.parametrize(
    ("path", "name"),
    [("/v2", b"registry"), ("/v2/", b"registry"), ("/v2/wt/a", b"registry"), ("/v2x", b"api"), ("/v1/v2/", b"api")],
)
async def test_only_paths_under_v2_go_to_the_registry(path: str, name: bytes) -> None:
    """A path that only starts with the same letters belongs to the API."""
    edge = Edge(application({"body": b"registry"}), application({"body": b"api"}))

    assert (await sent_by(edge, scope_of(path)))[1]["body"] == name


@pytest.mark.parametrize("path", ["/v2/wt/a", "/v1alpha2/container"])
async def test_each_response_has_its_own_id(path: str) -> None:
    """A user can name the request to an operator, whichever part of the service answered."""
    edge = Edge(application(), application())

    ids = [dict((await sent_by(edge, scope_of(path)))[0]["headers"])[b"x-request-id"] for _ in range(2)]

    assert len(set(ids)) == 2


@pytest.mark.parametrize("path", ["/v2/wt/a", "/v1alpha2/container"])
async def test_two_hosts_are_refused_before_the_application(path: str) -> None:
    """Proxies and caches may read the other one."""
    edge = Edge(application({"body": b"reached"}), application({"body": b"reached"}))

    start, body = await sent_by(edge, scope_of(path, hosts=2))

    assert start["status"] == 400
    assert b"Host" in body["body"]


async def test_a_whole_body_is_sent_in_pieces() -> None:
    """The server buffers what a client does not read, so only one piece at a time may wait there."""
    edge = Edge(application({"body": bytes(2 * PIECE + 1)}), application())

    bodies = (await sent_by(edge, scope_of("/v2/wt/a")))[1:]

    assert [len(each["body"]) for each in bodies] == [PIECE, PIECE, 1, 0]
    assert [each["more_body"] for each in bodies] == [True, True, True, False]


async def test_a_streamed_piece_stays_as_it_is() -> None:
    """A relay chooses its pieces by the speed of the client; copying them again halves its rate."""
    piece = bytes(2 * PIECE)
    edge = Edge(application({"body": piece, "more_body": True}, {"body": b"", "more_body": False}), application())

    bodies = (await sent_by(edge, scope_of("/v2/wt/a")))[1:]

    assert [len(each["body"]) for each in bodies] == [2 * PIECE, 0]


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


async def test_long_user_agents_do_not_fill_the_memory() -> None:
    """A stranger may send heads of 400 KiB, and the results for 256 user agents are stored."""
    is_crawler.cache_clear()

    for number in range(3):
        await answered(agent=b"a" * 100_000 + b"%d" % number)

    assert is_crawler.cache_info().currsize == 1


async def test_crawlers_may_read_what_they_are_refused() -> None:
    """`robots.txt` asks them not to crawl."""
    edge = Edge(application(), application({"body": b"robots"}))

    assert (await sent_by(edge, scope_of("/robots.txt", b"Googlebot")))[1]["body"] == b"robots"


@pytest.mark.parametrize(("method", "known"), [("PATCH", "PATCH"), ("A" * 60_000, "other")])
async def test_logs_and_spans_have_no_long_text_of_a_stranger(method: str, known: str) -> None:
    """Methods and paths are the client's words: a line of the log is short, and the names of spans are few."""
    scope = scope_of("/" + "p" * 16_000) | {"method": method}
    spans: list[Span] = []
    with capture_logs() as lines, recording(spans.append, 1.0):
        await sent_by(Edge(application(), application()), scope)

    (line,) = [line for line in lines if line["event"] == "request answered"]
    assert len(str(line)) < 2_000
    assert [(span.name, span.attributes["http.request.method"]) for span in spans] == [(f"{known} other", known)]


@pytest.mark.parametrize(
    "path",
    ["/v1alpha2/container/%s", "/v1alpha2/container//%s/status", "/view/containers//%s", "/v2/wt/%s/a", "//wt//%s"],
)
def test_no_spelling_of_a_path_shows_a_token(path: str) -> None:
    """Repeated slashes lead to the same handlers."""
    assert "secret" not in shown(path % "abcdsecret")
