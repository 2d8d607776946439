"""Whether this builder can run build steps: a real one runs at start, and again every minute until it succeeds."""

import asyncio
from datetime import timedelta
from typing import Protocol

from builder.domain.failure import BuildFailure
from swell.concurrency.periodic import every
from swell.errors import Unavailable
from swell.log import log

WITHIN = 60.0  # seconds
AGAIN = timedelta(minutes=1)


class Trial(Protocol):
    async def run_step(self) -> None:
        """Run one build step that does nothing; raises `BuildFailure` with the reason if it cannot run."""


class Steps:
    """*problem* says why steps cannot run here; it is empty when one has run."""

    def __init__(self, engine: Trial) -> None:
        self._engine = engine
        self.problem = "no build step has run yet"

    async def try_one(self) -> None:
        """Run one step, within 60 s; log the reason if it fails."""
        try:
            async with asyncio.timeout(WITHIN):
                await self._engine.run_step()
        except BuildFailure as failure:
            problem = f"build steps cannot run here: {failure}"
        except TimeoutError:
            problem = f"build steps cannot run here: one did not end within {WITHIN:.0f} s"
        else:
            problem = ""
        if problem:
            log.error("build steps cannot run", reason=problem)
        elif self.problem:
            log.info("build steps can run")
        self.problem = problem

    async def try_until_one_runs(self) -> None:
        """Try again every minute while steps cannot run, until cancelled."""

        async def again() -> None:
            if self.problem:
                await self.try_one()

        await every(AGAIN, again, event="build steps cannot run", first=False)

    async def check(self) -> None:
        """Raise `Unavailable` with the problem, if there is one."""
        if self.problem:
            raise Unavailable(self.problem)
