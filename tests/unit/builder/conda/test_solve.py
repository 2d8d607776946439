"""Equal requests share one solution, in bounded time, and lock files have hashes."""

import asyncio
from datetime import timedelta

import pytest

from builder.conda.model.channels import SolveRequest
from builder.conda.model.lock import LockedPackage, locked
from builder.solve import AT_ONCE, MOST_WAITING, EnvironmentSolver
from swell.errors import BadRequest, Unavailable
from swell.oci.platform import parse_platform

NAMES = "https://conda.example.org"
AMD64 = parse_platform("linux/amd64")
TOOL = locked(f"{NAMES}/forge/linux-64/tool-1-0.conda", "00" * 32)
LOCK = f"# platform: linux-64\n@EXPLICIT\n{TOOL.url}#sha256:{TOOL.sha256}\n"


class Slow:
    """Answers when a test sets the result; *asked* are the requests."""

    def __init__(self) -> None:
        self.asked: list[tuple[SolveRequest, str]] = []
        self.go_on = asyncio.Event()
        self.at_work = self.most_at_work = 0

    async def solve(self, request: SolveRequest, subdir: str) -> list[LockedPackage]:
        self.asked.append((request, subdir))
        self.at_work += 1
        self.most_at_work = max(self.at_work, self.most_at_work)
        await self.go_on.wait()
        self.at_work -= 1
        return [TOOL]


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def solving(slow: Slow) -> EnvironmentSolver:
    return EnvironmentSolver(slow, NAMES, timedelta(seconds=5))


async def test_the_answer_is_a_lock_file(slow: Slow, solving: EnvironmentSolver) -> None:
    """Channels by their names, and each package with its hash."""
    slow.go_on.set()
    assert await solving.solve(["tool", "other::x"], ["forge"], "", AMD64) == LOCK
    request = SolveRequest(("tool", f"{NAMES}/other::x"), (f"{NAMES}/forge", f"{NAMES}/other"))
    assert slow.asked == [(request, "linux-64")]


async def test_a_hundred_who_ask_the_same_ask_once(slow: Slow, solving: EnvironmentSolver) -> None:
    """A pipeline asks for its one environment with all its tasks at once."""
    waiting = [asyncio.ensure_future(solving.solve(["tool"], ["forge"], "", AMD64)) for _ in range(100)]
    await asyncio.sleep(0)
    slow.go_on.set()
    assert set(await asyncio.gather(*waiting)) == {LOCK}
    assert len(slow.asked) == 1


async def test_only_so_many_are_solved_and_wait(slow: Slow, solving: EnvironmentSolver) -> None:
    """Further requests fail with `Unavailable` instead of waiting without end."""
    waiting = [
        asyncio.ensure_future(solving.solve([f"tool{number}"], ["forge"], "", AMD64)) for number in range(MOST_WAITING)
    ]
    for _ in range(3):
        await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="too many"):
        await solving.solve(["one-more"], ["forge"], "", AMD64)
    slow.go_on.set()
    await asyncio.gather(*waiting)
    assert slow.most_at_work == AT_ONCE


async def test_a_solve_that_takes_too_long_is_unavailable(slow: Slow) -> None:
    """Who asks hears that it takes too long, and that it is worth asking again."""
    with pytest.raises(Unavailable, match="takes too long") as refused:
        await EnvironmentSolver(slow, NAMES, timedelta(milliseconds=10)).solve(["tool"], ["forge"], "", AMD64)
    assert refused.value.retry_after == 10


async def test_a_lock_that_came_along_is_checked_and_kept(slow: Slow, solving: EnvironmentSolver) -> None:
    """There is nothing to be solved."""
    assert await solving.solve([], [], LOCK, AMD64) == LOCK
    with pytest.raises(BadRequest, match="not for linux-aarch64"):
        await solving.solve([], [], LOCK, parse_platform("linux/arm64"))
    assert slow.asked == []
