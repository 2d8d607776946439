"""A build's log as events, over HTTP: who is given them, how they end, and what becomes of who does not take them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from gateway.builds.event_encoding import Lines, Position
from gateway.http import event_stream
from swell.net.http import listening
from swell.serve import Address
from swell.store.records import BuildResult
from swell_embedded.ports import Ports
from tests.integration.gateway.harness import Client, Harness
from tests.integration.gateway.test_app import building
from tests.unit.gateway.builds.eventsource import parse
from tests.unit.gateway.doubles import ended

EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
async def client(harness: Harness) -> AsyncIterator[Client]:
    where = Address("127.0.0.1", Ports.free().gateway)
    url = f"http://{where.host}:{where.port}"
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session,
        listening(harness.app(url), where, grace=1),
    ):
        yield Client(session, url)


async def test_the_log_is_sent_as_events_on_request(client: Client, harness: Harness) -> None:
    """Nothing on the way may keep or hold back any of it."""
    build_id = (await building(client))["buildId"]
    harness.feeds.lines_of[build_id] = [Lines(1, 1, "STEP 1: größe\n".encode())]
    harness.feeds.result = ended(succeeded=True)

    answer = await client.ask("GET", f"/v1alpha1/builds/{build_id}/logs", **EVENTS)

    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["vary"] == "Accept"
    first, last = parse(answer.body)
    assert (first.id, first.data, last.name) == ("1-1", "STEP 1: größe", "end")


@pytest.mark.parametrize("accept", ["*/*", "text/plain", "text/*", "text/event-stream;q=0", ""])
async def test_other_clients_receive_text(client: Client, harness: Harness, accept: str) -> None:
    """A wildcard is what tools send that want a file."""
    build_id = (await building(client))["buildId"]
    harness.logs.more.release()
    harness.logs.more.release()

    answer = await client.ask("GET", f"/v1alpha1/builds/{build_id}/logs", Accept=accept)

    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert answer.body.decode() == "STEP 1: größe\nSTEP 2\n"


async def test_a_client_that_has_the_result_does_not_reconnect(client: Client, harness: Harness) -> None:
    """204 is what the specification of events has for that."""
    build_id = (await building(client))["buildId"]
    harness.feeds.result = ended(succeeded=True)
    await harness.builds.finish(build_id, harness.feeds.result)
    path = f"/v1alpha1/builds/{build_id}/logs"
    (end,) = parse((await client.ask("GET", path, **EVENTS)).body)

    answer = await client.ask("GET", path, **EVENTS, **{"Last-Event-ID": end.id})

    assert (answer.status, answer.body) == (204, b"")


async def test_an_id_that_no_event_has_is_refused(client: Client) -> None:
    """400, before the stream starts."""
    build_id = (await building(client))["buildId"]

    answer = await client.ask("GET", f"/v1alpha1/builds/{build_id}/logs", **EVENTS, **{"Last-Event-ID": "17"})

    assert (answer.status, answer.json["code"]) == (400, "BAD_REQUEST")


async def test_an_unknown_build_has_no_events(client: Client) -> None:
    """404, before the stream starts."""
    assert (await client.ask("GET", "/v1alpha1/builds/bd-0_1/logs", **EVENTS)).status == 404


async def test_head_does_not_wait_for_the_end(client: Client, harness: Harness) -> None:
    """HEAD gets the headers of the log at once."""
    build_id = (await building(client))["buildId"]
    harness.logs.more.release()
    harness.logs.more.release()

    assert (await client.ask("HEAD", f"/v1alpha1/builds/{build_id}/logs", **EVENTS)).status == 200


class EndlessFeeds:
    """A build that talks as fast as it is listened to; *left* is set when a watcher has gone."""

    def __init__(self) -> None:
        self.count = 0
        self.left = asyncio.Event()

    @asynccontextmanager
    async def open(self, build_id: str, after: Position) -> AsyncIterator["EndlessFeeds"]:
        try:
            yield self
        finally:
            self.left.set()

    result: BuildResult | None = None
    is_whole = False

    async def __aiter__(self) -> AsyncIterator[Lines | None]:
        while True:
            self.count += 1
            yield Lines(1, self.count, b"x" * 50_000 + b"\n")
            await asyncio.sleep(0)


@pytest.fixture
def endless(harness: Harness) -> EndlessFeeds:
    harness.feeds = EndlessFeeds()  # type: ignore[assignment]
    return harness.feeds  # type: ignore[return-value]


async def test_a_watcher_that_takes_nothing_is_sent_away(
    endless: EndlessFeeds, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is closed; until then, no more is made than fits into the sockets' buffers."""
    monkeypatch.setattr(event_stream, "SEND_TIMEOUT", 0.5)
    build_id = (await building(client))["buildId"]
    reader, writer = await connected(client, build_id)

    async with asyncio.timeout(30):
        await endless.left.wait()
        count = endless.count
        while await reader.read(1 << 20):
            pass

    assert count < 2000
    writer.close()


async def test_a_watcher_that_leaves_is_forgotten_at_once(endless: EndlessFeeds, client: Client) -> None:
    """A closed connection frees its place."""
    build_id = (await building(client))["buildId"]
    _, writer = await connected(client, build_id)
    writer.transport.abort()

    async with asyncio.timeout(30):
        await endless.left.wait()


async def connected(client: Client, build_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection whose events have started, and that is not read."""
    host, _, port = client.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 16)
    writer.write(
        f"GET /v1alpha1/builds/{build_id}/logs HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode()
    )
    assert b"200" in await reader.readline()
    return reader, writer


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"requestId": "mine"}, {}, 200),
        ({"requestId": "a0b1c2d3e4f5g6h7i8j9k0l1m2"}, {}, 403),
        ({}, {}, 403),
        (None, {}, 403),
        ({"towerAccessToken": "unknown"}, {}, 401),
        ({"requestId": "mine"}, {"Authorization": "Basic b3BzOnB3"}, 401),
        (b"{", {}, 400),
        ({"requestId": [1, 2]}, {}, 400),
    ],
)
async def test_a_build_is_cancelled_by_its_requests_and_users(
    client: Client, harness: Harness, body: object, headers: dict[str, str], status: int
) -> None:
    """The id of the request is a secret; a wrong password is never ignored."""
    submission = await building(client)
    if isinstance(body, dict) and body.get("requestId") == "mine":
        body = {"requestId": submission["requestId"]}

    answer = await client.ask("POST", f"/v1alpha1/builds/{submission['buildId']}/cancel", body, **headers)

    assert answer.status == status, answer.body
    if status == 200:
        assert answer.json == {"id": submission["buildId"], "cancelled": True, "others": 0}
        again = await client.ask("POST", f"/v1alpha1/builds/{submission['buildId']}/cancel", body)
        assert (again.status, again.json["code"]) == (409, "CONFLICT")


async def test_builds_are_listed_by_image_and_by_container(client: Client, harness: Harness) -> None:
    """Newest first, in pages; without who requested them."""
    for _ in range(3):
        submission = await building(client)
        await harness.builds.finish(submission["buildId"], ended(succeeded=False))
    container_id = submission["buildId"].removeprefix("bd-").partition("_")[0]

    first = (await client.get(f"/v1alpha1/builds?image={submission['containerImage']}&limit=2")).json
    second = (await client.get(f"/v1alpha1/builds?image={container_id}&limit=2&cursor={first['next']}")).json

    numbers = [each["buildId"].rpartition("_")[2] for each in first["builds"] + second["builds"]]
    assert numbers == ["3", "2", "1"]
    assert "next" not in second
    assert not {"userName", "userEmail", "userId", "requestIp", "client"} & first["builds"][0].keys()
    assert (await client.get("/v1alpha1/builds?image=registry.example.com/other:1")).json == {"builds": []}


@pytest.mark.parametrize("query", ["", "image=a&limit=0", "image=a&limit=101", "image=a b", "image=a&limit=x"])
async def test_a_list_that_cannot_be_is_refused(client: Client, query: str) -> None:
    """A malformed image or limit gets 400."""
    assert (await client.get(f"/v1alpha1/builds?{query}")).status == 400


async def test_a_cursor_that_no_page_had_is_refused(client: Client) -> None:
    """A malformed cursor gets 400."""
    assert (await client.get("/v1alpha1/builds?image=c44968632f89dd6c&cursor=x")).status == 400
