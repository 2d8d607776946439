"""What works of a service: its checks run side by side, each with a deadline, and name the backend that fails.

A service is ready while anything useful works; what does not work has a reason. Liveness never depends on checks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain

import msgspec
from msgspec import Struct, field

from swell.api.health import HealthStatus
from swell.concurrency.drain import Drain
from swell.errors import SwellError, Unavailable
from swell.log import log

SECONDS = 2.0
"""How long a check may take; probes of platforms wait at least 3 s."""
DRAINING = "this process is stopping"

Work = Callable[[], Awaitable[None]]


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The abilities that work, and the reason why each of the others does not; `reason` says why nothing does."""

    works: tuple[str, ...] = ()
    fails: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether something useful works."""
        return bool(self.works) and not self.reason

    @property
    def is_degraded(self) -> bool:
        """Whether something useful works, and something else does not."""
        return self.is_ready and bool(self.fails)

    def status(self, engine: str = "") -> HealthStatus:
        """The report as an answer of HTTP; *engine* names the engines of the builders."""
        if not self.is_ready:
            return HealthStatus(status="DOWN", reason=self.reason)
        if not self.is_degraded:
            return HealthStatus(status="UP", engine=engine or None)
        return HealthStatus(status="UP", degraded=True, works=self.works, fails=self.fails, engine=engine or None)

    def encoded(self) -> str:
        """The report as one line of JSON, in ASCII."""
        return msgspec.json.encode(self).decode().encode("ascii", "replace").decode()


class Check:
    """A check *name*, for example of Redis: *work* raises a `SwellError` whose message is the reason of the failure."""

    def __init__(self, name: str, work: Work) -> None:
        self.name = name
        self._work = work
        self._running: asyncio.Task[str] | None = None

    async def problem(self, seconds: float = SECONDS) -> str:
        """Return why the check fails, or an empty string; after *seconds* at the latest.

        Concurrent calls share one execution. One that is late goes on, because the Redis client may swallow a
        cancellation, and no second one starts meanwhile.
        """
        if self._running is None:
            self._running = asyncio.create_task(self._run())  # no group: nothing waits for a late one
            self._running.add_done_callback(self._ended)
        task = self._running
        done, _ = await asyncio.wait({task}, timeout=seconds)
        return task.result() if done else f"{self.name} does not answer within {seconds:g} s"

    async def _run(self) -> str:
        try:
            await self._work()
        except SwellError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  (a check that is broken is a check that fails)
            log.exception("check failed", check=self.name)
            return f"{self.name}: {type(error).__name__}"
        return ""

    def _ended(self, _: "asyncio.Task[str]") -> None:
        self._running = None


class Health:
    """The *abilities* of a service, each with the checks that it needs.

    If one of *required* fails, the service is not ready, although something works.
    """

    def __init__(
        self,
        abilities: Mapping[str, Sequence[Check]],
        *,
        required: Sequence[Check] = (),
        drain: Drain | None = None,
    ) -> None:
        self._abilities = abilities
        self._required = required
        self._drain = drain
        self._last: Report | None = None

    async def report(self) -> Report:
        """Run all checks and return what works, within `SECONDS`. A change is logged."""
        if self._drain and self._drain.is_started:
            return Report(reason=DRAINING)
        checks = list(dict.fromkeys(chain(self._required, *self._abilities.values())))
        problems = dict(zip(checks, await asyncio.gather(*(check.problem() for check in checks)), strict=True))
        fails = {}
        for ability, needs in self._abilities.items():
            if reasons := [problems[check] for check in needs if problems[check]]:
                fails[ability] = "; ".join(dict.fromkeys(reasons))
        works = tuple(ability for ability in self._abilities if ability not in fails)
        required = [problems[check] for check in self._required if problems[check]]
        reason = "; ".join(dict.fromkeys(required or ([] if works else filter(None, problems.values()))))
        report = Report(works=works, fails=fails, reason=reason)
        self._log_change(report)
        return report

    async def ready(self) -> dict[str, object]:
        """Return the body of a positive answer over HTTP.

        Raises:
            Unavailable: the service is not ready; the message says why.
        """
        report = await self.report()
        if not report.is_ready:
            raise Unavailable(report.reason)
        body: dict[str, object] = msgspec.to_builtins(report.status())
        return body

    def _log_change(self, report: Report) -> None:
        before, self._last = self._last, report
        if before == report or (before is None and not report.fails and not report.reason):
            return
        state = "ready" if report.is_ready else "not ready"
        log.warning("health changed", state=state, fails=report.fails or None, reason=report.reason or None)


ALWAYS: Mapping[str, Sequence[Check]] = {"calls": ()}
"""The abilities of a service without backends."""
