"""Solve a wish for packages: exactly which archives an image gets, before anything is built."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from builder.conda.model.channels import Wish, read_wish, subdir_of
from builder.conda.model.lock import LockedPackage, read_lock, write_lock
from swell.concurrency.single_flight import SingleFlight
from swell.errors import Unavailable
from swell.oci.platform import Platform

AT_ONCE = 2
MOST_WAITING = 32


class Solver(Protocol):
    async def solve(self, wish: Wish, subdir: str) -> list[LockedPackage]:
        """The packages that fulfil *wish* on *subdir*; raises `BadRequest` with an explanation when there are none."""


class Solving:
    def __init__(self, solver: Solver, channel_names: str, patience: timedelta) -> None:
        """Channels are found by their names below the address *channel_names*; nobody waits longer than *patience*."""
        self._solver = solver
        self._channel_names = channel_names
        self._patience = patience.total_seconds()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._under_way: SingleFlight[tuple[Wish, str], str] = SingleFlight()

    async def solve(self, specs: Sequence[str], channels: Sequence[str], lock: str, platform: Platform) -> str:
        """The lock file for *specs* of *channels* on *platform*; a *lock* that came along is checked and kept.

        Raises:
            BadRequest: there is no such set of packages, and why; or a channel, a spec or the lock makes no sense.
            UpstreamFailed, AddressForbidden: a channel cannot be read.
            Unavailable: it takes too long, or too many are waiting.
        """
        subdir = subdir_of(platform)
        if lock:
            return write_lock(subdir, read_lock(lock, subdir))
        wish = read_wish(specs, channels, self._channel_names)
        return await self._under_way.run((wish, subdir), lambda: self._solve(wish, subdir))

    async def _solve(self, wish: Wish, subdir: str) -> str:
        if self._waiting >= MOST_WAITING:
            raise Unavailable("too many environments are being solved", retry_after=10)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience), self._places:
                return write_lock(subdir, await self._solver.solve(wish, subdir))
        except TimeoutError as error:
            message = "the environment is not solved yet; it takes too long. More exact versions make it faster"
            raise Unavailable(message, retry_after=10) from error
        finally:
            self._waiting -= 1
