"""Solve an environment: select the exact package archives of an image before it is built."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from builder.conda.model.channels import SolveRequest, parse_request, subdir_of
from builder.conda.model.lock import LockedPackage, read_lock, write_lock
from swell.concurrency.deadline import SHARE, within
from swell.concurrency.single_flight import SingleFlight
from swell.errors import Unavailable
from swell.oci.platform import Platform

AT_ONCE = 2
MOST_WAITING = 32


class Solver(Protocol):
    async def solve(self, request: SolveRequest, subdir: str) -> list[LockedPackage]:
        """Return the packages for *request* on *subdir*; raises `BadRequest` if it cannot be satisfied."""


class EnvironmentSolver:
    """Solves at most `AT_ONCE` environments at a time; equal requests share one solution."""

    def __init__(self, solver: Solver, channel_names: str, timeout: timedelta) -> None:
        """Named channels are below the URL *channel_names*; a request takes at most *timeout*."""
        self._solver = solver
        self._channel_names = channel_names
        self._timeout = timeout.total_seconds()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._single_flight: SingleFlight[tuple[SolveRequest, str], str] = SingleFlight()

    async def solve(self, specs: Sequence[str], channels: Sequence[str], lock: str, platform: Platform) -> str:
        """Return the lock file for *specs* of *channels* on *platform*; a *lock* that is not empty is validated.

        Raises:
            BadRequest: the environment cannot be solved, or a channel, a spec or the lock is invalid.
            UpstreamFailed, AddressForbidden: a channel cannot be read.
            Unavailable: solving times out, or too many requests are waiting.
        """
        subdir = subdir_of(platform)
        if lock:
            return write_lock(subdir, read_lock(lock, subdir))
        request = parse_request(specs, channels, self._channel_names, subdir)
        return await self._single_flight.run((request, subdir), lambda: self._solve(request, subdir))

    async def _solve(self, request: SolveRequest, subdir: str) -> str:
        if self._waiting >= MOST_WAITING:
            raise Unavailable("too many environments are being solved", retry_after=10)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                with within(self._timeout * SHARE):  # a silent channel is named, instead of the timeout here
                    return write_lock(subdir, await self._solver.solve(request, subdir))
        except TimeoutError as error:
            message = "the environment is not solved yet; it takes too long. More exact versions make it faster"
            raise Unavailable(message, retry_after=10) from error
        finally:
            self._waiting -= 1
