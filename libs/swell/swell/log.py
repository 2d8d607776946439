"""Structured logs: one JSON line for each event, with its request id and trace id.

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/
"""

import logging
import random
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

import structlog
from structlog.contextvars import bound_contextvars, get_contextvars, merge_contextvars

_RANDOM = random.Random()  # noqa: S311  ids are not secrets; random bytes of the kernel take as long as a pull
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def configure(service: str, level: str = "INFO") -> None:
    """Write the logs of this process and of its libraries to stderr as JSON lines with the field *service*."""

    def mark(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        return {"service": service, **event}

    shared: list[structlog.types.Processor] = [
        mark,
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    json = structlog.processors.JSONRenderer()
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


def new_id() -> str:
    """Return a random id for a request or a trace: 32 hexadecimal digits."""
    return f"{_RANDOM.getrandbits(128):032x}"


@contextmanager
def tracing(request_id: str, traceparent: str | None = None) -> Iterator[None]:
    """Add *request_id* and the trace of *traceparent*, or a new one, to all logs, calls and messages in the block."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    with bound_contextvars(request_id=request_id, trace_id=match[1] if match else new_id()):
        yield


def trace_headers() -> dict[str, str]:
    """Return the headers that carry the ids of this block to another service."""
    context = get_contextvars()
    if "trace_id" not in context:
        return {}
    return {
        "x-request-id": context["request_id"],
        "traceparent": f"00-{context['trace_id']}-{new_id()[:16]}-01",
    }
