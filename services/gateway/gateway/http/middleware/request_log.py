"""One log line per request."""

import logging
import re

from swell.log import is_logged, log, parse_traceparent

_MAX_PATH, _MAX_METHOD = 1000, 20  # characters
_QUIET = ("/v2", "/health")  # requested up to thousands of times a second, so logged at level debug
_PULLS = "/v2/wt/"
_TOKEN = re.compile(r"(/(?:wt|container|containers|container-token)/+[^/]{0,4})[^/]*")
_PAIRING = re.compile(r"^(/+pairing\b).*", re.DOTALL)  # a secret of a Platform follows, in any spelling


def log_request(method: str, path: str, status: int, seconds: float, traceparent: str | None = None) -> None:
    """Log an answered request; *path* without secrets. The trace of the client, in *traceparent*, is one field."""
    level = logging.DEBUG if status < 400 and path.startswith(_QUIET) else logging.INFO
    if is_logged(level):
        client = parse_traceparent(traceparent)
        fields = {"client_trace_id": client.trace_id} if client else {}
        seconds = round(seconds, 4)
        path = shown(path[:_MAX_PATH])
        method = method[:_MAX_METHOD]
        log.log(level, "request answered", method=method, path=path, status=status, seconds=seconds, **fields)


def shown(path: str) -> str:
    """*path* with the first four characters of a token only, so that readers of the log cannot pull."""
    if path.startswith(_PULLS):  # a fast path for pulls
        start = len(_PULLS)
        return f"{path[: start + 4]}…{path[slash:]}" if (slash := path.find("/", start + 4)) > 0 else f"{_PULLS}…"
    return _TOKEN.sub(r"\1…", _PAIRING.sub(r"\1/…", path))
