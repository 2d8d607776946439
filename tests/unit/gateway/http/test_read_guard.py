"""A log that is followed ends when its reader may not read it any more."""

from collections.abc import AsyncIterator

import pytest

from gateway.http.read_guard import until_refused
from swell.errors import NotReadable, SwellError, Unauthorized, Unavailable


async def pieces() -> AsyncIterator[bytes]:
    for number in range(6):
        yield b"%d" % number


@pytest.mark.parametrize(
    ("error", "expected"),
    [(None, b"012345"), (Unavailable("away"), b"012345"), (Unauthorized("revoked"), b"01"), (NotReadable("no"), b"01")],
)
async def test_a_reader_is_checked_again(error: SwellError | None, expected: bytes) -> None:
    """A key may be revoked while a build runs for hours; a store that is away does not end the stream."""
    calls = 0

    async def check() -> None:
        nonlocal calls
        calls += 1
        if error and calls > 2:
            raise error

    received = b"".join([piece async for piece in until_refused(pieces(), check, interval=0)])

    assert received == expected


async def test_a_reader_is_not_checked_at_each_line() -> None:
    """A log may have thousands of lines a second."""
    calls = 0

    async def check() -> None:
        nonlocal calls
        calls += 1

    assert [piece async for piece in until_refused(pieces(), check)]
    assert calls == 0
