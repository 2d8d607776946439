"""BuildKit's structured progress as log lines in the form of `docker build --progress=plain`, and as steps.

The lines are those of the plain form without its blank lines and `#1 ...`: a log shows parallel steps as they go on.
Source: buildkit, `SolveStatus` (one JSON document a line with `--progress=rawjson`) and the plain form,
https://github.com/moby/buildkit/blob/v0.34.2/client/graph.go and
https://github.com/moby/buildkit/blob/v0.34.2/util/progress/progressui/printer.go
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from builder.buildkit.failures.last_output import LastOutput
from swell.api.builds import BuildStep
from swell_sandbox.lines import LONGEST_PIECE, pieces

_BETWEEN = timedelta(seconds=1)  # between two events about the bytes of a running step
_SMALLEST_CHANGE = 0.25  # of a transfer, between two lines about it
_LONGEST_SILENCE = timedelta(seconds=5)
MOST_VERTICES = 10_000
MOST_TRANSFERS = 50_000
LONGEST_NAME = 4000  # characters of a step's name, and of its error
EXPORT = "exporting to image"
"""The name of the step that begins when all steps of the container file have ended."""
CHUNK = 4000  # bytes of lines that are passed on together: calls, not lines, are what costs time


class Vertex(Struct):
    digest: str = ""
    name: str = ""
    started: datetime | None = None
    completed: datetime | None = None
    cached: bool = False
    error: str = ""


class Transfer(Struct):
    """The state of a download, upload or export within a vertex; `current` and `total` are bytes."""

    id: str
    vertex: str = ""
    total: int = 0
    current: int = 0
    timestamp: datetime | None = None
    started: datetime | None = None
    completed: datetime | None = None


class Output(Struct):
    """A part of what a step writes; `stream` is 2 for standard error."""

    vertex: str = ""
    stream: int = 1
    data: bytes = b""
    timestamp: datetime | None = None


class Warning(Struct):  # noqa: A001  (BuildKit's word)
    vertex: str = ""
    short: bytes = b""


class SolveStatus(Struct):
    vertexes: list[Vertex] | None = None
    statuses: list[Transfer] | None = None
    logs: list[Output] | None = None
    warnings: list[Warning] | None = None


class Step(Struct, kw_only=True):
    """The state of a step; `total_bytes` counts what it has downloaded or uploaded, `reported` is its last event."""

    number: int
    name: str
    started: datetime
    ended: datetime | None = None
    cached: bool = False
    error: str = ""
    total_bytes: int = 0
    reported: datetime | None = None

    def event(self) -> BuildStep:
        return BuildStep(
            number=self.number,
            name=self.name,
            started=self.started,
            ended=self.ended,
            cached=self.cached,
            transferred=self.total_bytes,
            error=self.error,
        )


class _Printed(Struct):
    """The state of a transfer: its bytes, and its bytes and time at its last line."""

    current: int = 0
    printed: int = -1
    when: datetime | None = None

    def is_due(self, transfer: Transfer) -> bool:
        """Whether *transfer* gets another line: for the first and the last state, after a quarter, and after 5 s."""
        if self.printed < 0 or transfer.completed:
            return True
        if transfer.total and transfer.current - self.printed >= transfer.total * _SMALLEST_CHANGE:
            return True
        return bool(self.when and transfer.timestamp and transfer.timestamp - self.when >= _LONGEST_SILENCE)


_decoder = msgspec.json.Decoder(SolveStatus)


class Progress:
    """Reads progress documents; returns log lines and the changes of steps, in their order."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self.failed: Step | None = None
        self.failed_output = ""
        """The last output of the step that failed first."""
        self._last_outputs: dict[str, LastOutput] = {}
        self._open: dict[str, bytes] = {}
        self._begun = set[str]()  # vertices whose open line is so long that its beginning has been passed on
        self._transfers: dict[tuple[str, str], _Printed] = {}

    def feed(self, document: bytes) -> Iterator[bytes | BuildStep]:
        """Yield the log lines that *document* adds, several in a chunk, and each step that it changes.

        A document that is not progress is a line itself. A step comes after the line that says the same.
        """
        try:
            status = _decoder.decode(document)
        except msgspec.MsgspecError:
            yield from pieces(document)
            return
        for vertex in status.vertexes or ():
            if vertex.started:
                yield from self._vertex(vertex, vertex.started)
        for warning in status.warnings or ():
            if step := self.steps.get(warning.vertex):
                yield b"#%d WARN: %s" % (step.number, warning.short[:LONGEST_PIECE])
        for transfer in status.statuses or ():
            yield from self._transfer(transfer)
        for output in status.logs or ():
            yield from self._output(output)
        for vertex in status.vertexes or ():
            if vertex.completed:
                yield from self._end(vertex)

    def end(self) -> Iterator[bytes]:
        """Yield the lines that were not completed."""
        for digest in list(self._open):
            yield from self._flush(digest)

    @property
    def running(self) -> Step | None:
        """The last step that started and has not ended."""
        return next((step for step in reversed(self.steps.values()) if not step.ended), None)

    def _vertex(self, vertex: Vertex, started: datetime) -> Iterator[bytes | BuildStep]:
        step = self.steps.get(vertex.digest)
        if step is None:
            if len(self.steps) >= MOST_VERTICES:
                return
            step = Step(number=len(self.steps) + 1, name=vertex.name[:LONGEST_NAME], started=started)
            self.steps[vertex.digest] = step
            yield from pieces(f"#{step.number} {vertex.name}".replace("\n", " ").encode())
        elif step.ended and not vertex.completed:  # BuildKit starts it again: another phase of the same vertex
            step.ended = None
        else:
            return
        if not vertex.completed:
            yield step.event()

    def _transfer(self, transfer: Transfer) -> Iterator[bytes | BuildStep]:
        step = self.steps.get(transfer.vertex)
        if step is None:
            return
        key = (transfer.vertex, transfer.id)
        last = self._transfers.get(key)
        if last is None:
            if len(self._transfers) >= MOST_TRANSFERS:
                return
            last = self._transfers[key] = _Printed()
        step.total_bytes += max(transfer.current - last.current, 0)
        last.current = max(transfer.current, last.current)
        if last.is_due(transfer):
            last.printed, last.when = transfer.current, transfer.timestamp
            yield from pieces(f"#{step.number} {_line_of(transfer)}".replace("\n", " ").encode())
        if transfer.timestamp and transfer.timestamp - (step.reported or step.started) >= _BETWEEN:
            step.reported = transfer.timestamp
            yield step.event()

    def _output(self, output: Output) -> Iterator[bytes]:
        step = self.steps.get(output.vertex)
        if step is None:
            return
        self._last_outputs.setdefault(output.vertex, LastOutput()).add(output.stream, output.data)
        block = self._open.pop(output.vertex, b"") + output.data
        seconds = 0.0
        if output.timestamp:
            seconds = max((output.timestamp - step.started).total_seconds(), 0.0)
        prefix = b"#%d %.3f " % (step.number, seconds)
        whole, newline, rest = block.rpartition(b"\n")
        if newline:
            # Colours and carriage returns stay for the reader of the log; only the lines are cut here.
            first = b"" if output.vertex in self._begun else prefix
            self._begun.discard(output.vertex)
            yield from _cut(first + whole.replace(b"\n", b"\n" + prefix))
        if len(rest) > LONGEST_PIECE:
            *full, rest = pieces(rest)
            if output.vertex not in self._begun:
                self._begun.add(output.vertex)
                yield prefix + full[0][: LONGEST_PIECE - len(prefix)]
                full[0] = full[0][LONGEST_PIECE - len(prefix) :]
            yield from full
        if rest:
            self._open[output.vertex] = rest

    def _flush(self, digest: str) -> Iterator[bytes]:
        if rest := self._open.pop(digest, b""):
            step = self.steps[digest]
            seconds = (datetime.now(step.started.tzinfo) - step.started).total_seconds()
            yield from _cut((b"" if digest in self._begun else b"#%d %.3f " % (step.number, seconds)) + rest)

    def _end(self, vertex: Vertex) -> Iterator[bytes | BuildStep]:
        step = self.steps.get(vertex.digest)
        if step is None or step.ended:
            return
        yield from self._flush(vertex.digest)
        step.ended, step.cached, step.error = vertex.completed, vertex.cached, vertex.error[:LONGEST_NAME]
        last_output = self._last_outputs.pop(vertex.digest, "")
        if vertex.error:
            canceled = vertex.error.endswith("context canceled")
            if not canceled and self.failed is None:
                self.failed, self.failed_output = step, str(last_output)
            word = "CANCELED" if canceled else f"ERROR: {vertex.error}"
            for line in word.splitlines():
                yield from pieces(f"#{step.number} {line}".encode())
        elif vertex.cached:
            yield b"#%d CACHED" % step.number
        else:
            lasted = (step.ended - step.started).total_seconds() if step.ended else 0.0
            yield b"#%d DONE %.1fs" % (step.number, lasted)
        yield step.event()


def _cut(lines: bytes) -> Iterator[bytes]:
    """Cut *lines* into chunks of whole lines, at most `CHUNK` bytes each; a longer line comes in pieces of its own."""
    start, size = 0, len(lines)
    while size - start > CHUNK:
        end = lines.rfind(b"\n", start, start + CHUNK + 1)
        if end < 0:
            end = lines.find(b"\n", start)
            end = size if end < 0 else end
            yield from pieces(lines[start:end])
        else:
            yield lines[start:end]
        start = end + 1
    if start < size:
        yield lines[start:]


def _line_of(transfer: Transfer) -> str:
    size = ""
    if transfer.total:
        size = f" {_bytes(transfer.current)} / {_bytes(transfer.total)}"
    elif transfer.current:
        size = f" {_bytes(transfer.current)}"
    seconds = ""
    if transfer.started and transfer.completed:
        lasted = (transfer.completed - transfer.started).total_seconds()
        seconds = f" {lasted:.1f}s" if lasted > 0.01 else ""
    return f"{transfer.id}{size}{seconds}{' done' if transfer.completed else ''}"


def _bytes(count: int) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count}{unit}" if unit == "B" else f"{count:.2f}{unit}"
        count /= 1000  # type: ignore[assignment]
    return ""
