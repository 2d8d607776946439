"""A pairing socket: requests and their answers, and what a Platform may send."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from gateway.adapters.platform import routing
from gateway.adapters.platform.routing import NotSent, RetryingTransport
from gateway.adapters.platform.socket import MAX_PENDING, PairingSocket, ProxyResponse, received
from gateway.domain.platform import Platform
from gateway.platform.wire import MAX_BODY, PlatformAnswer, PlatformRequest
from swell.errors import PlatformFailed, PlatformSlow, PlatformUnreachable
from tests.unit.gateway.platform.doubles import PLATFORM

NESTED = '{"@type":"pairing-heartbeat","later":' + "[" * 100_000 + "]" * 100_000 + "}"


def request(number: int = 0, method: str = "GET") -> PlatformRequest:
    return PlatformRequest(method=method, url=f"https://platform.example.org/api/{number}", auth="Bearer t")


class Wire:
    """The socket, and the messages that it has sent."""

    def __init__(self, timeout: float = 5) -> None:
        self.sent: list[dict[str, Any]] = []
        self.socket = PairingSocket(PLATFORM, self.send, timedelta(seconds=timeout))

    async def send(self, text: str) -> None:
        self.sent.append(json.loads(text))

    def answer(self, message_id: str, body: str = "{}", headers: Any = None) -> bool:
        message = {"@type": "proxy-http-response", "msgId": message_id, "status": 200, "body": body, "headers": headers}
        response = received(json.dumps(message | {"later": 1}))
        assert isinstance(response, ProxyResponse)
        return self.socket.on_response(response)

    async def begin(self, *requests: PlatformRequest) -> list[asyncio.Task[PlatformAnswer]]:
        """Start *requests*; return when all have been sent."""
        tasks = [asyncio.create_task(self.socket.request(each)) for each in requests]
        while len(self.sent) < len(requests):  # noqa: ASYNC110
            await asyncio.sleep(0)
        return tasks


async def test_answers_reach_their_requests_in_any_order() -> None:
    """Each has a random id; the answer of one is never that of another."""
    wire = Wire()
    tasks = await wire.begin(*map(request, range(50)))
    assert len({each["msgId"] for each in wire.sent}) == 50

    for message in reversed(wire.sent):
        assert wire.answer(message["msgId"], message["uri"])

    answers = [await task for task in tasks]
    assert [each.body for each in answers] == [request(number).url for number in range(50)]


async def test_an_answer_to_no_request_is_dropped() -> None:
    """Nor is a second one of use."""
    wire = Wire()
    [task] = await wire.begin(request())
    message_id = wire.sent[0]["msgId"]

    assert not wire.answer("guessed")
    assert wire.answer(message_id, "first")
    assert not wire.answer(message_id, "second")
    assert (await task).body == "first"
    assert not wire.answer(message_id, "third")


async def test_names_of_headers_are_in_lower_case() -> None:
    """The cookies of a renewal are found in any spelling."""
    wire = Wire()
    [task] = await wire.begin(request())
    wire.answer(wire.sent[0]["msgId"], headers={"Set-Cookie": ["JWT=1"]})

    assert (await task).headers == {"set-cookie": ("JWT=1",)}


async def test_silence_and_a_closed_socket_are_errors() -> None:
    """No request waits without end."""
    with pytest.raises(PlatformSlow):
        await Wire(timeout=0.01).socket.request(request())
    wire = Wire()
    [task] = await wire.begin(request())
    wire.socket.close()
    with pytest.raises(PlatformUnreachable):
        await task
    with pytest.raises(PlatformUnreachable):
        await wire.socket.request(request())


async def test_what_waits_and_what_is_answered_are_bounded() -> None:
    """A Platform that does not answer cannot fill the memory; an answer must fit into a message of NATS."""
    wire = Wire()
    tasks = await wire.begin(*[request()] * MAX_PENDING)
    with pytest.raises(PlatformUnreachable, match="too many"):
        await wire.socket.request(request())

    wire.answer(wire.sent[0]["msgId"], "x" * (MAX_BODY + 1))
    with pytest.raises(PlatformFailed, match="too large"):
        await tasks[0]
    wire.socket.close()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"@type": "pairing-response"}',
        '{"@type": "proxy-http-response"}',
        "[" * 10_000,
        "\x00",
        NESTED,
    ],
)
def test_other_messages_are_nothing(text: str) -> None:
    """They count as unrequested."""
    assert received(text) is None


class Failing:
    """Raises *errors*, one for each request, and then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.requests = 0

    async def send(self, platform: Platform, request: PlatformRequest) -> PlatformAnswer:
        self.requests += 1
        if self.errors:
            raise self.errors.pop(0)
        return PlatformAnswer(status=200)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pause is 250 ms in production."""
    monkeypatch.setattr(routing, "PAUSE", 0.01)


@pytest.mark.usefixtures("short_pauses")
async def test_reading_requests_are_repeated() -> None:
    """A gateway that dies between request and answer loses none."""
    transport = Failing(PlatformUnreachable(), PlatformSlow())

    assert (await RetryingTransport(transport).send(PLATFORM, request())).status == 200
    assert transport.requests == 3


@pytest.mark.usefixtures("short_pauses")
async def test_a_renewal_is_repeated_only_if_it_was_not_sent() -> None:
    """The Platform may have used the refresh token up."""
    sent = Failing(PlatformSlow())
    with pytest.raises(PlatformSlow):
        await RetryingTransport(sent).send(PLATFORM, request(method="POST"))
    assert sent.requests == 1

    unsent = Failing(NotSent())
    assert (await RetryingTransport(unsent).send(PLATFORM, request(method="POST"))).status == 200


@pytest.mark.usefixtures("short_pauses")
async def test_a_request_is_not_repeated_without_end() -> None:
    """The client gets the last error."""
    transport = Failing(*[PlatformUnreachable("away")] * 100)

    with pytest.raises(PlatformUnreachable, match="away"):
        await RetryingTransport(transport, timedelta(seconds=0.05)).send(PLATFORM, request())
