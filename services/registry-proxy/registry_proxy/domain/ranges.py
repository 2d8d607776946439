"""Parts of a blob, as clients ask for them.

Source: RFC 9110, section 14.
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
    """Read a `Range` header for a blob of *size* bytes: `bytes=a-b`, `bytes=a-` or `bytes=-n`.

    None when the whole is to be sent, as the RFC allows it: for several ranges, other units and nonsense.

    Raises:
        RangeInvalid: the blob has no such bytes.
    """
    found = _ONE_RANGE.fullmatch(text)
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        span = Span(max(0, size - int(last)), size)
    elif last and int(last) < int(first):
        return None
    else:
        span = Span(int(first), min(int(last) + 1, size) if last else size)
    if span.length <= 0:
        raise RangeInvalid(f"the blob has {size} bytes, and none of those that were asked for")
    return span


def content_range(span: Span | None, size: int) -> str:
    """The `Content-Range` of *span* of a blob of *size* bytes; None is the answer to a range that it does not have."""
    return f"bytes {span.start}-{span.stop - 1}/{size}" if span else f"bytes */{size}"


def parse_content_range(text: str) -> tuple[int, int | None] | None:
    """The start and the whole's size that a `Content-Range` tells; a size of None is unknown, None is no answer."""
    found = re.fullmatch(r"bytes ([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19}|\*)", text, re.ASCII)
    if found is None:
        return None
    return int(found[1]), None if found[2] == "*" else int(found[2])
