"""Claims about how a build's log is answered."""

from collections.abc import AsyncIterator

import pytest

from gateway.handlers.builds import started
from swell.errors import Unavailable


async def test_a_log_that_cannot_be_started_is_an_error_and_no_broken_answer() -> None:
    """After the status was sent, an error cannot be reported: an unavailable store must be noticed before."""

    async def pieces() -> AsyncIterator[bytes]:
        raise Unavailable("the object store does not answer")
        yield b""  # makes it a generator

    with pytest.raises(Unavailable):
        await started(pieces())


@pytest.mark.parametrize("log", [[], [b"one\n"], [b"one\n", b"two\n"]])
async def test_a_log_loses_nothing_by_being_started(log: list[bytes]) -> None:
    """Nor does an empty one become anything else."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in log:
            yield piece

    assert b"".join([piece async for piece in await started(pieces())]) == b"".join(log)
