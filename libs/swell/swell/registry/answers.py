"""What an upstream's refusal means, in our words; its own body and challenges stay with us."""

from collections.abc import Mapping

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
            return TooManyRequests(f"{what}: the registry takes no more requests for now", retry_after=_wait(headers))
    return UpstreamFailed(f"{what}: the registry answers {status}")


def _wait(headers: Mapping[str, str]) -> int:
    """Seconds to wait; a date or nonsense counts as one minute."""
    told = headers.get("Retry-After", "")
    return max(1, min(int(told), LONGEST_WAIT)) if told.isascii() and told.isdigit() else 60
