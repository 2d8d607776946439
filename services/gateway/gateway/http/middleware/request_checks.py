"""Checks of a request's head before it is routed: `Host`, and the sizes of the target and the header fields.

The HTTP server itself refuses malformed heads, targets over 64 KiB, more than 100 fields and heads over 400 KiB, with
the same status and without a body.

Source: RFC 9112, 3.2 "Request Target", https://www.rfc-editor.org/rfc/rfc9112#section-3.2
Source: RFC 9110, 15.5.15 "414 URI Too Long", https://www.rfc-editor.org/rfc/rfc9110#section-15.5.15
Source: RFC 6585, 5 "431 Request Header Fields Too Large", https://www.rfc-editor.org/rfc/rfc6585#section-5
"""

from litestar.types import HTTPScope

from swell.errors import BadRequest, SwellError, TooLarge

MAX_TARGET = 16 << 10  # bytes of path and query
MAX_HEAD = 64 << 10  # bytes of all fields


class TargetTooLong(TooLarge):
    """The path and query of the request are longer than the limit."""

    status = 414
    advice = "Send a shorter path or query."


class HeadTooLarge(TooLarge):
    """The header fields of the request are larger than the limit."""

    status = 431
    advice = "Send fewer or shorter header fields."


class Head:
    """What the head of the request *scope* says, read in one pass. `error` is None unless it must be refused."""

    __slots__ = ("error", "is_conditional", "traceparent", "user_agent")

    def __init__(self, scope: HTTPScope) -> None:
        self.user_agent, self.is_conditional = b"", False
        self.traceparent: str | None = None
        size, hosts, named = 0, 0, False
        for name, value in scope["headers"]:
            size += len(name) + len(value)
            if name == b"host":
                hosts += 1
                named = bool(value)
            elif name == b"user-agent":
                self.user_agent = value
            elif name == b"traceparent":
                self.traceparent = value.decode("ascii", "replace")
            elif name == b"if-none-match":
                self.is_conditional = True
        self.error: SwellError | None = None
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET:
            self.error = TargetTooLong()
        elif size > MAX_HEAD:
            self.error = HeadTooLarge()
        elif hosts > 1:
            self.error = BadRequest("the request has more than one Host header")
        elif not named and scope["http_version"] not in {"1", "1.0"}:  # the server adds an empty Host if it is missing
            self.error = BadRequest("the request has no Host header")
