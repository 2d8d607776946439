"""Convert error responses of registries; their bodies and challenges are not passed on to clients."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from swell.errors import (
    Denied,
    SwellError,
    TooManyRequests,
    Unavailable,
    UpstreamBroken,
    UpstreamDown,
    UpstreamFailed,
    UpstreamSlow,
)

LONGEST_WAIT = 3600


def failure(status: int, headers: Mapping[str, str], what: str, absent: type[SwellError]) -> SwellError:
    """Return the error for a response with *status* about *what* ("repository 'docker.io/x/y:z'").

    *absent* is the class for status 404.
    """
    match status:
        case 404:
            return absent(f"{what} not found")
        case 401 | 403:
            return Denied(f"{what} is not accessible: the registry answers {status}")
        case 429:
            wait = retry_after_of(headers) or 60
            return TooManyRequests(f"{what}: the registry takes no more requests for now", retry_after=wait)
    wait_or_none = retry_after_of(headers) if status >= 500 else None
    return answered(status, f"{what}: the registry answers {status}", retry_after=wait_or_none)


def answered(status: int, message: str, *, retry_after: int | None = None) -> UpstreamFailed:
    """Return the error for a response with the error *status*."""
    error = UpstreamFailed(message, retry_after=retry_after)
    error.answer = status
    return error


def is_temporary(error: SwellError) -> bool:
    """Return whether the same request may succeed later: the registry failed, or limits requests."""
    if isinstance(error, UpstreamFailed):
        return error.answer >= 500 if error.answer else isinstance(error, UpstreamBroken | UpstreamSlow | UpstreamDown)
    return isinstance(error, Unavailable | TooManyRequests)


def retry_after_of(headers: Mapping[str, str]) -> int | None:
    """Return the seconds in `Retry-After`, 1 to 3600; None when it is missing or invalid.

    Source: RFC 9110, section 10.2.3, https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return max(1, min(int(value[:9]), LONGEST_WAIT))
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    left = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(1, min(round(left), LONGEST_WAIT))
