"""The time of a build: pushes are repeated while their registry fails, until the time is over."""

import asyncio
from datetime import timedelta

import pytest

from builder.domain import time_limit as module
from builder.domain.failure import BuildFailure
from builder.domain.time_limit import retry_push, time_limit
from swell.store.records import Reason

MINUTE = timedelta(minutes=1)
AWAY = BuildFailure(Reason.PUSH, "The registry refused the image: no connection.", is_temporary=True)
REFUSED = BuildFailure(Reason.PUSH, "The registry refused the image: 403.")


class Pushes:
    """Fails as often as there are *failures*, then returns `pushed`; `lines` is the log."""

    def __init__(self, *failures: BuildFailure) -> None:
        self.failures = list(failures)
        self.lines: list[bytes] = []
        self.kept = 0
        self.unkept = 0

    async def write_line(self, line: bytes) -> None:
        self.lines.append(line)

    async def push(self) -> str:
        if self.failures:
            raise self.failures.pop(0)
        return "pushed"

    async def keep(self) -> bool:
        self.kept += 1
        return self.kept > self.unkept


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.001, 0.002))


async def test_a_push_is_repeated_while_the_registry_fails() -> None:
    """What was built is kept after the first failure, once; the log says what happens."""
    pushes = Pushes(AWAY, AWAY, AWAY)
    async with time_limit(MINUTE, pushes.write_line):
        assert await retry_push(pushes.push, pushes.keep) == "pushed"

    assert pushes.kept == 1
    assert pushes.lines[0] == b"(The registry refused the image: no connection. The push is repeated in 0 s)"
    assert len(pushes.lines) == 3


@pytest.mark.parametrize(("unkept", "kept"), [(2, 3), (99, module.KEEP_TRIES)])
async def test_what_was_built_is_kept_when_the_object_store_is_back(unkept: int, kept: int) -> None:
    """It may have been away at the first failure of the push; it is not tried for ever."""
    pushes = Pushes(*[AWAY] * 8)
    pushes.unkept = unkept
    async with time_limit(MINUTE, pushes.write_line):
        await retry_push(pushes.push, pushes.keep)

    assert pushes.kept == kept


async def test_a_refused_push_is_not_repeated() -> None:
    """It would be refused again."""
    pushes = Pushes(REFUSED)
    with pytest.raises(BuildFailure, match="403"):
        async with time_limit(MINUTE, pushes.write_line):
            await retry_push(pushes.push, pushes.keep)

    assert pushes.kept == 0


async def test_a_push_outside_of_a_build_is_not_repeated() -> None:
    """Nothing would end it."""
    with pytest.raises(BuildFailure):
        await retry_push(Pushes(AWAY).push)


async def test_a_build_whose_time_ends_while_it_pushes_fails_with_the_push() -> None:
    """The client learns that the registry is to blame, not the container file."""
    pushes = Pushes(*[AWAY] * 10_000)
    with pytest.raises(BuildFailure) as caught:
        async with time_limit(timedelta(seconds=0.05), pushes.write_line):
            await retry_push(pushes.push)

    assert caught.value is AWAY


async def test_a_build_that_takes_too_long_after_a_push_has_timed_out() -> None:
    """A push that succeeded in the end is not the reason."""
    pushes = Pushes(AWAY)

    async def push_and_wait() -> None:
        await retry_push(pushes.push)
        await asyncio.Event().wait()

    with pytest.raises(BuildFailure, match="took longer than") as caught:
        async with time_limit(timedelta(seconds=0.2), pushes.write_line):
            await push_and_wait()

    assert caught.value.reason is Reason.TIMED_OUT
