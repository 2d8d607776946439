"""Builds in memory that count how often they are read."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from swell.jobs.messages import BuildDone
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import Build, Submission
from tests.unit.gateway.doubles import NOON

T = TypeVar("T")


class Watched(MemoryBuilds):
    """Counts how often it is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self._looked = asyncio.Event()

    async def get(self, build_id: str) -> Build | None:
        self.looks += 1
        self._looked.set()
        return await super().get(build_id)

    async def next_look(self) -> None:
        self._looked.clear()
        await self._looked.wait()

    async def running(self) -> str:
        """The id of a build that is running."""
        submission = Submission(
            container_id="c44968632f89dd6c",
            target_image="registry.example.com/team/builds:c44968632f89dd6c",
            containerfile="FROM alpine\n",
            platform="linux/amd64",
            created=NOON,
        )
        return (await self.submit(submission))[0]

    async def waiter(self, result: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Someone who waits for *result*, and has looked and found that the build still runs."""
        task = asyncio.create_task(result)
        await self.next_look()
        return task


def done(build_id: str) -> BuildDone:
    return BuildDone(id=build_id, target_image="r/i:t", platform="linux/amd64", succeeded=True, finished=NOON)
