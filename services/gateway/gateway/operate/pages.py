"""Pages of lists: at most 100 entries after a cursor."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from swell.errors import BadRequest

T = TypeVar("T")
DEFAULT, MOST = 20, 100
MAX_CURSOR = 300  # characters
_MAX_DIGITS = 18


def page_size(limit: int | None) -> int:
    """The number of entries of a page: *limit*, 20 by default.

    Raises:
        BadRequest: it is not 1 to 100.
    """
    size = DEFAULT if limit is None else limit
    if not 1 <= size <= MOST:
        raise BadRequest(f"limit can be 1 to {MOST}")
    return size


def page_of(
    entries: Sequence[T], name: Callable[[T], str], cursor: str | None, limit: int | None
) -> tuple[tuple[T, ...], str | None]:
    """The page of *entries*, which are sorted by *name*, after the name *cursor*; and the next cursor.

    Raises:
        BadRequest: *limit* is not 1 to 100, or *cursor* is too long.
    """
    size = page_size(limit)
    if cursor is not None and len(cursor) > MAX_CURSOR:
        raise BadRequest("cursor is not one that a page had as its next")
    left = [entry for entry in entries if cursor is None or name(entry) > cursor]
    return tuple(left[:size]), name(left[size - 1]) if len(left) > size else None


def number_of(cursor: str | None) -> int:
    """The number that *cursor* is; 0 without one.

    Raises:
        BadRequest: it is no number.
    """
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _MAX_DIGITS):
        raise BadRequest("cursor is not one that a page had as its next")
    return int(cursor)
