"""Readiness: what works is listed, what does not has a reason, and every check has a deadline."""

import asyncio
from collections.abc import Sequence

import pytest

from swell.concurrency.drain import Drain
from swell.errors import Unavailable
from swell.observe.health import DRAINING, Check, Health, Report


class Backend:
    """A backend whose check fails with `fails`, or never ends."""

    def __init__(self, name: str = "the state store") -> None:
        self.fails: Exception | None = None
        self.hangs = False
        self.calls = 0
        self.check = Check(name, self._answer)

    async def _answer(self) -> None:
        self.calls += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise self.fails


async def test_all_that_works_is_not_degraded() -> None:
    """A platform sees one state; the list is for an operator."""
    state = Backend()
    report = await Health({"pulls": [state.check], "blobs": []}).report()

    assert (report.is_ready, report.is_degraded) == (True, False)
    assert report == Report(works=("pulls", "blobs"))


async def test_a_part_that_works_keeps_a_service_ready() -> None:
    """Taking the last replica out of service would end what still works; the reason is in the report."""
    state = Backend()
    state.fails = Unavailable("the state store does not answer")
    report = await Health({"pulls": [state.check], "blobs": []}).report()

    assert (report.is_ready, report.is_degraded) == (True, True)
    assert report.works == ("blobs",)
    assert report.fails == {"pulls": "the state store does not answer"}


async def test_a_service_without_anything_useful_is_not_ready() -> None:
    """The reason names each backend once."""
    state = Backend()
    state.fails = Unavailable("the state store does not answer")
    report = await Health({"builds": [state.check], "packages": [state.check]}).report()

    assert not report.is_ready
    assert report.reason == "the state store does not answer"
    assert state.calls == 1


async def test_a_required_check_decides_alone() -> None:
    """A builder that cannot run steps must get no builds, although it could still solve packages."""
    steps = Backend("build steps")
    steps.fails = Unavailable("runc: operation not permitted")
    report = await Health({"packages": []}, required=[steps.check]).report()

    assert (report.is_ready, report.reason) == (False, "runc: operation not permitted")


async def test_a_check_that_hangs_ends_at_its_deadline() -> None:
    """A probe gets an answer before it gives up; a second one starts no second check."""
    state = Backend()
    state.hangs = True
    async with asyncio.timeout(30):
        problems = await asyncio.gather(state.check.problem(0.05), state.check.problem(0.05))
        again = await state.check.problem(0.05)

    assert set(problems) == {again} == {"the state store does not answer within 0.05 s"}
    assert state.calls == 1


async def test_a_check_that_breaks_is_a_failure_without_details() -> None:
    """The log has the stack trace; a stranger who asks for health gets no text of an exception."""
    state = Backend()
    state.fails = KeyError("password")

    assert await state.check.problem() == "the state store: KeyError"


async def test_a_check_recovers() -> None:
    """The next report is a new one."""
    state = Backend()
    health = Health({"pulls": [state.check]})
    state.fails = Unavailable("away")
    before = await health.report()
    state.fails = None

    assert [before.is_ready, (await health.report()).is_ready] == [False, True]


async def test_a_stopping_service_is_not_ready() -> None:
    """Before its work has ended; load balancers then choose another replica."""
    drain = Drain()
    health = Health({"pulls": []}, drain=drain)
    drain.start()

    assert (await health.report()) == Report(reason=DRAINING)


@pytest.mark.parametrize("names", [(), ("größe",)])
def test_a_report_is_ascii(names: Sequence[str]) -> None:
    """Trailers of gRPC allow nothing else."""
    assert Report(works=tuple(names)).encoded().isascii()
