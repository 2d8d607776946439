"""What an upstream's refusal means, in our words; its own body and challenges stay with us."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from swell.errors import Denied, SwellError, TooManyRequests, UpstreamFailed

LONGEST_WAIT = 3600


def failure(status: int, headers: Mapping[str, str], what: str, absent: type[SwellError]) -> SwellError:
    """The error for an answer with *status* to a question about *what* ("repository 'docker.io/x/y:z'").

    *absent* is raised for a 404; it depends on what was asked for.
    """
    match status:
        case 404:
            return absent(f"{what} not found")
        case 401 | 403:
            return Denied(f"{what} is not shown to us: the registry answers {status}")
        case 429:
            wait = retry_after_of(headers) or 60
            return TooManyRequests(f"{what}: the registry takes no more requests for now", retry_after=wait)
    wait_or_none = retry_after_of(headers) if status >= 500 else None
    return UpstreamFailed(f"{what}: the registry answers {status}", retry_after=wait_or_none)


def retry_after_of(headers: Mapping[str, str]) -> int | None:
    """The seconds that `Retry-After` tells to wait, 1 to 3600; None when it tells nothing that makes sense."""
    told = headers.get("Retry-After", "").strip()
    if told.isascii() and told.isdigit():
        return max(1, min(int(told[:9]), LONGEST_WAIT))
    try:
        until = parsedate_to_datetime(told)
    except (ValueError, OverflowError):
        return None
    left = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(1, min(round(left), LONGEST_WAIT))
