"""Byte ranges of a blob.

Source: RFC 9110, section 14 (range requests), https://www.rfc-editor.org/rfc/rfc9110#section-14
"""

import re
from typing import NamedTuple

from swell.errors import RangeInvalid

_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,99})\s*-\s*([0-9]{0,99})\s*", re.ASCII | re.IGNORECASE)


class Span(NamedTuple):
    """The bytes from `start` to before `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start


def parse_range(text: str, size: int) -> Span | None:
    """Parse a `Range` header for a blob of *size* bytes: `bytes=a-b`, `bytes=a-` or `bytes=-n`.

    None means the whole blob: for several ranges, other units and invalid values, as the RFC allows.

    Raises:
        RangeInvalid: the range is outside the blob.
    """
    match = _ONE_RANGE.fullmatch(text)
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        span = Span(max(0, size - int(last)), size)
    elif last and int(last) < int(first):
        return None
    else:
        span = Span(int(first), min(int(last) + 1, size) if last else size)
    if span.length <= 0:
        raise RangeInvalid(f"the requested range is outside the blob, which has {size} bytes")
    return span


def content_range(span: Span | None, size: int) -> str:
    """Return the `Content-Range` of *span* in a blob of *size* bytes; None stands for an unsatisfiable range."""
    return f"bytes {span.start}-{span.stop - 1}/{size}" if span else f"bytes */{size}"
