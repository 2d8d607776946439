"""Bodies of requests and answers: their encoding, their limits, and what an error says."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, structs

from swell_client.errors import ErrorBody, RequestFailed, UnexpectedAnswer
from swell_client.retry import retry_after

T = TypeVar("T")
Sent = Callable[[int, int], object]
"""Called with the number of bytes sent so far, and with that of all bytes."""

MAX_ANSWER = 256 << 20
"""Bytes of an answer; reports of scans are the largest."""

_PIECE = 64 << 10
_SHOWN = 64 << 10


class Answer(Struct, frozen=True):
    """A whole response; *headers* have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes


class Pieces:
    """A request body in pieces, for both kinds of transport, that reports what has been sent."""

    def __init__(self, body: bytes, sent: Sent) -> None:
        self._body, self._sent = body, sent

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._body), _PIECE):
            yield self._body[start : start + _PIECE]
            self._sent(min(start + _PIECE, len(self._body)), len(self._body))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


def encode(message: Struct) -> bytes:
    """*message* as JSON; members that are None are left out, which means the same."""
    fields = msgspec.to_builtins({each.encode_name: getattr(message, each.name) for each in structs.fields(message)})
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def decode(answer: Answer, kind: type[T]) -> T:
    """Read the body of *answer* as *kind*.

    Raises:
        UnexpectedAnswer: it is something else.
    """
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnexpectedAnswer(f"the answer of the server cannot be read: {error}") from error


def failure(answer: Answer) -> RequestFailed:
    """The error that *answer* is, with what the server says about it; some text of a body that is not the server's."""
    text = answer.body[:_SHOWN].decode(errors="replace")
    return RequestFailed(answer.status, _details(answer), retry_after(answer.headers.get("retry-after")), text)


def _details(answer: Answer) -> ErrorBody:
    if 300 <= answer.status < 400:
        target = answer.headers.get("location", "")
        return ErrorBody(message=f"status {answer.status}", next=f"Use the address {target}" if target else "")
    try:
        fields: Any = msgspec.json.decode(answer.body)
        return msgspec.convert(fields, ErrorBody)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        text = answer.body[:500].decode(errors="replace").strip()
        return ErrorBody(message=f"status {answer.status}: {text}" if text else f"status {answer.status}")
