"""Progress on stderr: plain lines without a terminal, a live display on one. Results go to stdout, elsewhere."""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import click

from swell_cli.output import printable, size
from swell_client.events import Ended, LinesMissing, LogLine, Progress, Restarted, Scanning, StepChanged, Waiting

if TYPE_CHECKING:
    from rich.status import Status

    from swell.api.builds import BuildStep

_TAIL = 20
_STEP_SECONDS = 0.1


class Mode(StrEnum):
    AUTO = "auto"
    PLAIN = "plain"
    NONE = "none"


class Reporter(Protocol):
    """Shows what happens. `packed` and `sent` are called often, with the bytes so far."""

    def packed(self, count: int) -> None: ...

    def sent(self, count: int, total: int) -> None: ...

    def event(self, event: Progress) -> None: ...

    def note(self, text: str) -> None: ...

    def failed(self) -> None: ...


@contextmanager
def reporting(mode: Mode, *, quiet: bool) -> Iterator[Reporter]:
    """The reporter for *mode* and this terminal."""
    if quiet or mode is Mode.NONE:
        yield Silent()
    elif mode is Mode.PLAIN or not sys.stderr.isatty():
        yield Plain()
    else:
        with Live.opened() as live:
            yield live


class Silent:
    """Shows nothing."""

    def packed(self, count: int) -> None: ...

    def sent(self, count: int, total: int) -> None: ...

    def event(self, event: Progress) -> None: ...

    def note(self, text: str) -> None: ...

    def failed(self) -> None: ...


class Plain:
    """Lines, for logs of pipelines: nothing is overwritten, the log of the build is complete."""

    def __init__(self) -> None:
        self._packed = 0

    def packed(self, count: int) -> None:
        self._packed = count

    def sent(self, count: int, total: int) -> None:
        if count == total and self._packed:
            self.note(f"packed {size(self._packed)}, sent {size(total)}")

    def event(self, event: Progress) -> None:
        match event:
            case LogLine(text=text):
                self.note(text)
            case _ if text := describe(event):
                self.note(text)

    def note(self, text: str) -> None:
        click.echo(printable(text), err=True)

    def failed(self) -> None:
        """The log has been shown."""


class Live:
    """Steps as they run, one line for what happens now; the end of the log if the build fails."""

    def __init__(self, status: "Status") -> None:
        self._status = status
        self._tail = deque[str](maxlen=_TAIL)
        self._running: dict[int, BuildStep] = {}
        self._shown = set[int]()
        self._updated = 0.0

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator["Live"]:
        from rich.console import Console  # noqa: PLC0415 - takes time to import

        console = Console(stderr=True, highlight=False)
        with console.status("") as status:
            yield cls(status)

    def packed(self, count: int) -> None:
        self._now(f"packing the context: {size(count)}", often=True)

    def sent(self, count: int, total: int) -> None:
        self._now(f"sending {size(count)} of {size(total)}", often=count < total)

    def event(self, event: Progress) -> None:
        match event:
            case LogLine(text=text):
                self._tail.append(text)
                if not self._running:
                    self._now(text, often=True)
            case StepChanged(step=step):
                self._step(step)
            case Waiting() | Scanning():
                self._now(describe(event))
            case _ if text := describe(event):
                self.note(text)

    def note(self, text: str) -> None:
        from rich.text import Text  # noqa: PLC0415

        self._status.console.print(Text(printable(text)))

    def failed(self) -> None:
        for line in self._tail:
            self.note(line)

    def _step(self, step: "BuildStep") -> None:
        if step.ended is None:
            self._running[step.number] = step
        else:
            self._running.pop(step.number, None)
            if step.number not in self._shown or step.error:
                self._shown.add(step.number)
                self.note(ended_step(step))
        names = [
            each.name + (f" ({size(each.transferred)})" if each.transferred else "") for each in self._running.values()
        ]
        self._now("; ".join(names) or "working", often=False)

    def _now(self, text: str, *, often: bool = False) -> None:
        from rich.text import Text  # noqa: PLC0415

        if often and monotonic() - self._updated < _STEP_SECONDS:
            return
        self._updated = monotonic()
        width = max(self._status.console.width - 4, 20)
        self._status.update(Text(printable(text)[:width]))


def ended_step(step: "BuildStep") -> str:
    """One line for a step that has ended: its result, its name, its time."""
    if step.error:
        return f"✗ {step.name}: {step.error}"
    seconds = (step.ended - step.started).total_seconds() if step.ended else 0.0
    return f"✓ {step.name}  {'cached' if step.cached else f'{seconds:.1f} s'}"


def describe(event: Progress) -> str:
    """One line for an event that is not a line of the log; empty for steps, which the log has as well."""
    match event:
        case Waiting(position=position):
            return f"waiting: position {position} in the queue"
        case Scanning():
            return "the image is being scanned"
        case Restarted(attempt=attempt):
            return f"the builder crashed; the build starts again (attempt {attempt})"
        case LinesMissing(first=first, last=last):
            return f"lines {first} to {last} were not streamed; 'swell logs' has them when the build has ended"
        case Ended(end=end) if end.succeeded:
            return f"built in {end.duration:.1f} s"
        case Ended(end=end):
            return f"failed after {end.duration:.1f} s: {end.message or end.reason or 'no reason'}"
    return ""
