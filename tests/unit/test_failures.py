"""Failures: what one service sends another about an error."""

import msgspec
from structlog.testing import capture_logs

from swell.errors import SwellError, TooManyRequests
from swell.failures import Failure


def test_an_error_is_the_same_after_a_journey() -> None:
    """As JSON over NATS; over gRPC its parts travel one by one."""
    encoded = msgspec.json.encode(Failure.of(TooManyRequests("größe: slowly", retry_after=7)))

    error = msgspec.json.decode(encoded, type=Failure).error

    assert (type(error), str(error), error.retry_after) == (TooManyRequests, "größe: slowly", 7)


def test_a_class_that_only_the_other_side_knows_is_still_an_error() -> None:
    """While services of two versions run side by side."""
    error = Failure("Newfangled", "what happened").error

    assert (type(error), str(error)) == (SwellError, "what happened")


def test_an_unexpected_error_is_logged_and_sent_without_details() -> None:
    """Details may contain secrets."""
    with capture_logs() as logs:
        failure = Failure.of(KeyError("password"))

    assert failure.kind == "SwellError"
    assert "password" not in failure.message
    assert "password" in str(logs)
