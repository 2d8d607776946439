"""The steps of a build with their times, as bars of a chart."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from swell.api.builds import BuildStep

MOST_STEPS = 200


class Bar(Struct, frozen=True):
    """One step: `start` and `width` are percentages of the whole time, `seconds` is None while it runs."""

    step: BuildStep
    start: float
    width: float
    seconds: float | None


def bars(steps: Iterable[BuildStep], ended: datetime) -> tuple[Bar, ...]:
    """The last state of each step, in the order of their numbers; at most `MOST_STEPS`. The build *ended* then."""
    latest = sorted({step.number: step for step in steps}.values(), key=lambda step: step.number)[:MOST_STEPS]
    if not latest:
        return ()
    first = min(step.started for step in latest)
    total = max((ended - first).total_seconds(), 0.001)
    return tuple(_bar(step, first, ended, total) for step in latest)


def _bar(step: BuildStep, first: datetime, ended: datetime, total: float) -> Bar:
    begin = min(max((step.started - first).total_seconds() / total, 0), 1) * 100
    length = ((step.ended or ended) - step.started).total_seconds()
    width = min(max(length / total * 100, 0.5), 100 - min(begin, 99.5))
    return Bar(step, round(min(begin, 99.5), 2), round(width, 2), round(length, 3) if step.ended else None)
