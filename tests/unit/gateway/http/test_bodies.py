"""The bodies of requests, as they come over the wire or do not."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from litestar import Request

from gateway.http import bodies
from gateway.http.bodies import MAX_BODY, read, read_body
from gateway.http.large_bodies import SMALL, BodyRoom, Reservation, reservation_of, reserve
from swell.api.inspect import InspectRequest
from swell.errors import BadRequest, MediaTypeUnsupported, RequestSlow, TooLarge, Unavailable

ADDRESS = "203.0.113.9"
BROKEN = {"type": "http.disconnect"}


def piece(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def request(messages: Iterable[dict[str, Any]], room: BodyRoom | None = None, **headers: str) -> Request[Any, Any, Any]:
    """A request whose *messages* come one after another, and then nothing."""
    waiting = iter(messages)

    async def receive() -> Any:
        if (message := next(waiting, None)) is None:
            await asyncio.Event().wait()
        return message

    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": fields, "state": {}}
    reserve(scope, Reservation(room or BodyRoom(), ADDRESS))
    return Request(scope, receive=receive)  # type: ignore[arg-type]


async def body_of(sent: Request[Any, Any, Any]) -> bytes:
    return await read_body(sent.scope, sent.receive)


async def test_a_body_comes_in_pieces() -> None:
    """The server passes a body on as it arrives."""
    assert await body_of(request([piece(b"a", more=True), piece(b"", more=True), piece(b"b")])) == b"ab"


async def test_a_body_ends_at_its_declared_length() -> None:
    """The message that says only this would be one more wait of each request. A chunked body has no such length."""
    halves = [piece(b"ab", more=True), piece(b"cd", more=True)]

    assert await body_of(request([*halves, BROKEN], content_length="4")) == b"abcd"
    with pytest.raises(BadRequest, match="breaks off"):
        await body_of(request([*halves, BROKEN], content_length="4", transfer_encoding="chunked"))


@pytest.mark.parametrize("before", [[], [piece(b'{"a":', more=True)]])
async def test_a_body_that_breaks_off_is_the_clients_doing(before: list[dict[str, Any]]) -> None:
    """A connection that ends, or a chunk that is none: nothing went wrong on our side."""
    with pytest.raises(BadRequest, match="breaks off"):
        await body_of(request([*before, BROKEN]))


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections cost something, and there is no end to who may open some and say nothing."""
    monkeypatch.setattr(bodies, "SILENCE", 0.01)

    with pytest.raises(RequestSlow):
        await body_of(request([piece(b"{", more=True)]))


async def test_a_body_that_is_too_large_is_read_before_it_is_refused() -> None:
    """Clients that write all first would see a broken connection instead of the answer; but there is an end to it."""
    part = piece(bytes(MAX_BODY), more=True)

    for messages in ([part, part, piece(b"")], [part] * 6):
        with pytest.raises(TooLarge):
            await body_of(large := request(messages))
        assert reservation_of(large.scope).size == 0


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
async def test_what_is_not_said_to_be_json_is_not_read(kind: str) -> None:
    """Browsers may send other types from any web page."""
    with pytest.raises(MediaTypeUnsupported, match="application/json"):
        await body_of(request([piece(b"{}")], content_type=kind))


async def test_nothing_at_all_has_no_type() -> None:
    """Many a client says that its empty body is a stream of octets: who cancels a build by a token sends none."""
    assert await body_of(request([piece(b"")], content_type="application/octet-stream")) == b""


@pytest.mark.parametrize("size", [1, 1 << 20])
async def test_a_large_body_says_the_same_as_a_small_one(size: int) -> None:
    """Decoding in a thread changes no result."""
    body = b'{"containerImage": "' + b"a" * size + b'"}'

    assert (await read(request([piece(body)]), InspectRequest)).container_image == "a" * size


@pytest.mark.parametrize("declared", [True, False])
async def test_a_large_body_has_its_memory_reserved(declared: bool) -> None:
    """By its `Content-Length`, or by the largest size; a small body reserves nothing."""
    size = 2 * SMALL
    headers: dict[str, Any] = {"content_length": str(size)} if declared else {}
    large = request([piece(bytes(SMALL), more=True), piece(bytes(SMALL))], **headers)
    small = request([piece(bytes(SMALL))])

    assert len(await body_of(large)) == size
    assert len(await body_of(small)) == SMALL
    assert reservation_of(large.scope).size == (size if declared else MAX_BODY)
    assert reservation_of(small.scope).size == 0


async def test_a_large_body_is_not_read_before_it_has_its_room() -> None:
    """What is not read stays with the client, and needs no memory here."""
    room = BodyRoom(2 * MAX_BODY, wait=0.01)
    await Reservation(room, ADDRESS).take(MAX_BODY)
    waiting = iter([piece(bytes(MAX_BODY))])

    with pytest.raises(Unavailable, match="too many large requests"):
        await body_of(request(waiting, room, content_length=str(MAX_BODY)))

    assert next(waiting, None) is not None
