"""Structured logs: one JSON line for each event, with its request id and trace id.

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/
"""

import logging
import random
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from enum import StrEnum
from typing import NamedTuple, TextIO, cast

from swell.imports import without

with without("rich"):  # it prints tracebacks in colours
    import structlog

_RANDOM = random.Random()  # noqa: S311  ids are not secrets; random bytes of the kernel take as long as a pull
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]([0-9a-f])")

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Trace(NamedTuple):
    """The ids of a request, empty outside of requests; `trace_id` has 32 hexadecimal digits.

    If the trace is `sampled`, its spans are exported. Then `span_id`, of 16 digits, is the current span, perhaps of the
    calling service, and `link` is the traceparent of another trace that led to this one.
    """

    request_id: str = ""
    trace_id: str = ""
    sampled: bool = False
    span_id: str = ""
    link: str = ""


_NO_TRACE = Trace()
_CURRENT: ContextVar[Trace] = ContextVar("trace", default=_NO_TRACE)  # structlog's variables take five times as long


class Format(StrEnum):
    """JSON lines, for machines, or lines that people read."""

    JSON = "json"
    TEXT = "text"


_NOISY = ("asyncio", "hpack", "httpcore", "httpx", "urllib3")
"""Libraries that log each request, the Kubernetes client among them; only their warnings are logged."""
_configured: list[str] = ["INFO"]  # the level of the settings
_current = [logging.INFO]


def configure(service: str, level: str = "INFO", form: Format = Format.JSON) -> None:
    """Write the logs of this process and of its libraries to stderr, each line with the field *service*."""

    def mark(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        return {"service": service, **event}

    shared: list[structlog.types.Processor] = [
        mark,
        _add_trace,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    json: structlog.types.Processor = structlog.processors.JSONRenderer()
    if form is Format.TEXT:
        shared.append(_without_controls)
        json = structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(  # bypass the standard library's logging, which doubles the time for a line
        processors=[*shared, json],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _IgnoringErrors(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    render: list[structlog.types.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, json]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=render))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    _configured[:] = [level]
    _current[:] = [logging.getLevelNamesMapping()[level]]


def is_logged(level: int) -> bool:
    """Whether events of *level*, as `logging.DEBUG`, are logged: ten times as fast as asking the logger."""
    return level >= _current[0]


def toggle_debug() -> None:
    """Change the level of this process to DEBUG, or back to that of its settings."""
    level = _configured[0] if log.is_enabled_for(logging.DEBUG) else "DEBUG"
    logging.getLogger().setLevel(level)
    structlog.configure(
        **{
            **structlog.get_config(),
            "wrapper_class": structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        }
    )
    _current[:] = [logging.getLevelNamesMapping()[level]]
    vars(log).pop("bind", None)  # the logger that was cached on its first use
    log.warning("log level changed", to=level)


class _IgnoringErrors:
    """Writes to *file* and ignores its errors, because a full disk must not stop the service."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()


_WARNED: dict[str, float] = {}
WARNING_INTERVAL = 1.0  # seconds


def warn_once_a_second(event: str, **fields: object) -> None:
    """Log the warning *event*, unless it was logged within the last second: an outage fails many calls."""
    now = time.monotonic()
    if now - _WARNED.get(event, float("-inf")) >= WARNING_INTERVAL:
        _WARNED[event] = now
        log.warning(event, **fields)


def new_id() -> str:
    """Return a random id for a request or a trace: 32 hexadecimal digits."""
    return f"{_RANDOM.getrandbits(128):032x}"


@contextmanager
def tracing(request_id: str, traceparent: str | None = None) -> Iterator[None]:
    """Add *request_id* and the trace of *traceparent*, or a new one, to all logs, calls and messages in the block.

    *traceparent* is that of a service of Swell: whether it is sampled is believed.
    """
    before = _CURRENT.set(_trace_of(request_id, traceparent))
    try:
        yield
    finally:
        _CURRENT.reset(before)


class tracing_as:  # noqa: N801  used as `tracing`
    """Use *trace* in the block. A class, because each pull uses it: a generator takes twice as long."""

    __slots__ = ("_before", "_trace")

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __enter__(self) -> None:
        self._before = _CURRENT.set(self._trace)

    def __exit__(self, *_: object) -> None:
        _CURRENT.reset(self._before)


def replace_trace(trace: Trace) -> None:
    """Use *trace* until the end of the block of `tracing` or `tracing_as` that is running."""
    _CURRENT.set(trace)


def _trace_of(request_id: str, traceparent: str | None) -> Trace:
    match = parse_traceparent(traceparent)
    if match is None:
        return Trace(request_id, new_id())
    return Trace(request_id, match.trace_id, match.sampled, match.span_id)


class TraceParent(NamedTuple):
    """The parts of a `traceparent` header."""

    trace_id: str
    span_id: str
    sampled: bool


def parse_traceparent(text: str | None) -> TraceParent | None:
    """Parse a `traceparent` header; None if it is missing or malformed."""
    match = _TRACEPARENT.fullmatch(text) if text else None
    return TraceParent(match[1], match[2], int(match[3], 16) % 2 == 1) if match else None


def current_trace() -> Trace:
    """Return the ids of this block."""
    return _CURRENT.get()


def trace_headers() -> dict[str, str]:
    """Return the headers that carry the ids of this block to another service."""
    trace = _CURRENT.get()
    return {"x-request-id": trace.request_id, "traceparent": traceparent()} if trace.trace_id else {}


def traceparent() -> str:
    """Return the trace of this block as a `traceparent` header; empty outside of requests."""
    trace = _CURRENT.get()
    if not trace.trace_id:
        return ""
    return f"00-{trace.trace_id}-{trace.span_id or new_id()[:16]}-{'01' if trace.sampled else '00'}"


def _without_controls(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """*event* without characters that control a terminal or begin a line: its texts can be those of strangers."""
    exception = event.get("exception")
    shown = {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}
    if isinstance(exception, str):  # its lines are indented, so that none looks like an event
        shown["exception"] = "\n".join(f"    {printable(line)}" for line in exception.split("\n"))
    return shown


def printable(text: str) -> str:
    """Return *text* with escapes in place of characters that control a terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _add_trace(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    trace = _CURRENT.get()
    return {"request_id": trace.request_id, "trace_id": trace.trace_id, **event} if trace.trace_id else event
