"""Three builders build nearly three times as much as one."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

import pytest

from tests.e2e.client import Fields, Swell, client_of, until
from tests.e2e.environment import beside
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, running

BUILDS = 12
SLEEP = 15  # seconds of a build; it uses no CPU, so that the cores of this machine are no limit

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]


async def test_three_builders_run_nearly_three_times_the_builds_of_one(
    new_stack: OpenStack, upstreams: Upstreams, tmp_path: Path
) -> None:
    """The builds wait; the queue gives each builder the next one at once."""
    async with (
        new_stack(tmp_path / "stack", BUILD_CONCURRENCY="1", BUILDS_AT_ONCE="24") as stack,
        client_of(stack.url) as swell,
        AsyncExitStack() as opened,
    ):
        await seconds_for(1, swell, upstreams, "warm")
        alone = await seconds_for(BUILDS // 3, swell, upstreams, "one") * 3
        for number in range(2):
            settings = {"WORKSPACE": str(tmp_path / f"builder{number}"), "BUILD_CONCURRENCY": "1"}
            _, program = beside(stack, "builder", **settings)
            logs = tmp_path / f"logs{number}"
            logs.mkdir()
            await opened.enter_async_context(running(program, logs))
        await seconds_for(6, swell, upstreams, "warm all", sleep=3)
        together = await seconds_for(BUILDS, swell, upstreams, "three")

    assert alone / together >= 2.7, f"{alone:.0f} s by one, {together:.0f} s by three"


async def seconds_for(count: int, swell: Swell, upstreams: Upstreams, name: str, sleep: int = SLEEP) -> float:
    """Return the time until *count* different builds have ended, all requested at once."""
    started = monotonic()
    steps = (f"FROM {upstreams.image()}\nRUN echo {name} {number} && sleep {sleep}\n" for number in range(count))
    answers = await asyncio.gather(*(swell.build(text) for text in steps))
    for answer in answers:  # one after the other: many polls would need the cores of the builders
        assert await has_succeeded(swell, answer["buildId"])
    return monotonic() - started


async def has_succeeded(swell: Swell, build_id: str) -> bool:
    async def look() -> Fields | None:
        status = await swell.build_status(build_id)
        return status if status["status"] == "COMPLETED" else None

    return bool((await until(look, seconds=600))["succeeded"])
