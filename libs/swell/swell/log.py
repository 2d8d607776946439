"""Structured logs: one JSON line an event, each with the request and trace it belongs to.

The trace id follows W3C Trace Context, so that a proxy in front or a collector behind can join the lines.
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

_CHANCE = random.Random()  # noqa: S311  ids tell lines apart, and are no secrets; the kernel's costs as much as a pull
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def configure(service: str, level: str = "INFO") -> None:
    """Send this process's logs, ours and the libraries', to stderr as JSON lines marked with *service*."""

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
    structlog.configure(  # past the standard library's logging, which takes as long again for a line
        processors=[*shared, json],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Forgiving(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    render: list[structlog.types.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, json]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=render))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class _Forgiving:
    """*file*, but for its errors: a full disk behind our log stops nobody's work."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()


def new_id() -> str:
    """An id for a request or a trace: 32 hexadecimal digits, unlike any other."""
    return f"{_CHANCE.getrandbits(128):032x}"


@contextmanager
def tracing(request_id: str, traceparent: str | None = None) -> Iterator[None]:
    """Mark all that is logged, called and published inside with *request_id* and the caller's trace, or a new one."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    with bound_contextvars(request_id=request_id, trace_id=found[1] if found else new_id()):
        yield


def trace_headers() -> dict[str, str]:
    """What to send along with a call or a message, so that the other side logs under the same ids."""
    context = get_contextvars()
    if "trace_id" not in context:
        return {}
    return {
        "x-request-id": context["request_id"],
        "traceparent": f"00-{context['trace_id']}-{new_id()[:16]}-01",
    }
