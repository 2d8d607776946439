"""Spans: the timed parts of sampled requests, over HTTP, gRPC and NATS. Without an exporter nothing is recorded.

The gateway decides which requests are sampled, before anything is recorded. Other services follow its decision, which
the `traceparent` header carries.

Source: OpenTelemetry, "Tracing API", https://opentelemetry.io/docs/specs/otel/trace/api/
Source: W3C Trace Context, https://www.w3.org/TR/trace-context/
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum

from msgspec import Struct

from swell.errors import SwellError
from swell.log import Trace, current_trace, new_id, parse_traceparent, replace_trace, tracing_as

MAX_TEXT = 200  # characters of an error

_RANDOM = random.Random()  # noqa: S311  which requests are sampled is no secret

Value = str | int


class Kind(IntEnum):
    """What a span is, with OTLP's numbers."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class Span(Struct):
    """A part of a trace; times are nanoseconds since 1970. `links` are traceparents; `error` is empty without one."""

    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int = 0
    attributes: dict[str, Value] = {}
    links: tuple[str, ...] = ()
    error: str = ""


Record = Callable[[Span], None]


class _Recorder:
    """Where spans go, and the part of the requests that is sampled."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.share = 0.0


_recorder = _Recorder()


@contextmanager
def recording(record: Record, share: float = 0.0) -> Iterator[None]:
    """Pass each span that ends during the block to *record*; sample *share* (0 to 1) of the requests."""
    _recorder.record, _recorder.share = record, share
    try:
        yield
    finally:
        _recorder.record, _recorder.share = None, 0.0


def new_trace(request_id: str) -> Trace:
    """Return the trace of a request from outside: it has a new id, and only this server decides if it is sampled."""
    if _recorder.share and _RANDOM.random() < _recorder.share:
        return Trace(request_id, new_id(), sampled=True, span_id=_new_span_id())
    return Trace(request_id, new_id())


def follow(traceparent: str) -> None:
    """Sample the rest of this request, and link it to *traceparent*, if that trace of this server is sampled."""
    trace = current_trace()
    if not (traceparent and _recorder.record and trace.trace_id) or trace.link:
        return
    if (cause := parse_traceparent(traceparent)) and cause.sampled and cause.trace_id != trace.trace_id:
        replace_trace(trace._replace(sampled=True, span_id=trace.span_id or _new_span_id(), link=traceparent))


@contextmanager
def span(name: str, kind: Kind = Kind.INTERNAL) -> Iterator[Span | None]:
    """Record the block as a child of the current span, if the trace is sampled; otherwise yield None.

    *name* has few values. An error that leaves the block is the error of the span.
    """
    trace = current_trace()
    if not (trace.sampled and _recorder.record):
        yield None
        return
    current = Span(name, kind, trace.trace_id, _new_span_id(), trace.span_id, time.time_ns(), attributes={})
    try:
        with tracing_as(trace._replace(span_id=current.span_id)):
            yield current
    except BaseException as error:
        current.error = str(error)[:MAX_TEXT] if isinstance(error, SwellError) else type(error).__name__
        raise
    finally:
        current.end = time.time_ns()
        _record(current)


def record_request(
    name: str, seconds: float, attributes: dict[str, Value], client_traceparent: str | None, *, failed: bool
) -> None:
    """Record the current span as a request from outside that took *seconds* and ends now.

    It is linked to the trace of the client, and to the trace that led to it.
    """
    trace = current_trace()
    if _recorder.record is None:
        return
    now = time.time_ns()
    links = tuple(link for link in (client_traceparent, trace.link) if parse_traceparent(link))
    _record(
        Span(
            name=name,
            kind=Kind.SERVER,
            trace_id=trace.trace_id,
            span_id=trace.span_id,
            parent_id="",
            start=now - int(seconds * 1e9),
            end=now,
            attributes={"swell.request_id": trace.request_id, **attributes},
            links=tuple(link for link in links if link),
            error="failed" if failed else "",
        )
    )


def _record(span: Span) -> None:
    if _recorder.record:
        _recorder.record(span)


def _new_span_id() -> str:
    return new_id()[:16]
