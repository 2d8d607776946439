"""Which requests are sent again, and when."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from swell_client.errors import RequestFailed, Unreachable

if TYPE_CHECKING:
    from tenacity import RetryCallState

_JITTER = 0.25


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """Failures of the connection, and answers with one of *statuses*, are repeated until there were *attempts*.

    The first wait is *first_wait*, each next one twice as long, at most *longest_wait*; they vary by a quarter.
    With *obeys_server*, a time in `Retry-After` counts; one that is longer than *longest_wait* ends the attempts.
    """

    attempts: int = 6
    first_wait: timedelta = timedelta(milliseconds=250)
    longest_wait: timedelta = timedelta(seconds=60)
    statuses: frozenset[int] = frozenset({429, 502, 503, 504})
    obeys_server: bool = True

    def repeats(self, error: BaseException) -> bool:
        """Whether the request that raised *error* is sent again."""
        if isinstance(error, RequestFailed):
            return error.status in self.statuses and not self._asks_too_much(error)
        return isinstance(error, Unreachable)

    def stops(self, state: "RetryCallState") -> bool:
        """Whether there were enough attempts, for tenacity."""
        return state.attempt_number >= self.attempts

    def wait(self, state: "RetryCallState") -> float:
        """Seconds until the next attempt, for tenacity."""
        import random  # noqa: PLC0415 - only when something has failed

        wait = min(
            self.first_wait.total_seconds() * 2.0 ** (state.attempt_number - 1), self.longest_wait.total_seconds()
        )
        wait *= random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads clients, protects nothing
        error = state.outcome.exception() if state.outcome else None
        if self.obeys_server and isinstance(error, RequestFailed) and error.retry_after is not None:
            return max(wait, error.retry_after)
        return wait

    def _asks_too_much(self, error: RequestFailed) -> bool:
        return self.obeys_server and (error.retry_after or 0) > self.longest_wait.total_seconds()


def retry_after(header: str | None) -> float | None:
    """The seconds in a `Retry-After` header, which has a number or a date; None if it has neither.

    Source: RFC 9110, section 10.2.3, https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    """
    if not header:
        return None
    if header.strip().isascii() and header.strip().isdigit():
        return float(header)
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max((when - datetime.now(UTC)).total_seconds(), 0.0)
