"""Messages for clients contain no internals: addresses, error numbers and class names are in the log only."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import urllib3
from nats.errors import NoServersError
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs
from yarl import URL

from swell import log
from swell.errors import Unavailable, UpstreamBroken
from swell.jobs import streams
from swell.net.outbound import name_with_port
from swell.store import s3_objects
from swell.store.connections import redis

DETAILS = "Error 111 connecting to 127.0.0.1:9379. Connect call failed ('127.0.0.1', 9379)."


@pytest.mark.parametrize(
    ("translated", "error", "message"),
    [
        (redis.translated, RedisConnectionError(DETAILS), "the state store does not answer"),
        (redis.translated, OSError(111, DETAILS), "the state store does not answer"),
        (streams.translated, NoServersError(), "the message queue does not answer"),
        (s3_objects.translated, urllib3.exceptions.HTTPError(DETAILS), "the object store does not answer"),
        (s3_objects.translated, UpstreamBroken(DETAILS), "the object store does not answer"),
    ],
)
async def test_the_details_of_an_outage_are_logged_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
    translated: Callable[[], AbstractContextManager[None]],
    error: Exception,
    message: str,
) -> None:
    """A user cannot use them, and addresses of the server's own network are not published."""
    monkeypatch.setattr(log, "_WARNED", {})
    with capture_logs() as logs, pytest.raises(Unavailable) as caught, translated():
        raise error

    assert str(caught.value) == message
    assert [each["error"] for each in logs] == [str(error)]


def test_an_outage_is_logged_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand requests a second would fill the log's disk with one fact."""
    monkeypatch.setattr(log, "_WARNED", {})
    monkeypatch.setattr(log, "WARNING_INTERVAL", 3600)
    with capture_logs() as logs:
        for _ in range(1000):
            log.warn_once_a_second("Redis failed", error="gone")
        log.warn_once_a_second("NATS failed", error="gone")

    assert [each["event"] for each in logs] == ["Redis failed", "NATS failed"]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://quay.io/v2/", "quay.io:443"),
        ("http://127.0.0.1:5000/v2/", "127.0.0.1:5000"),
        ("http://[::1]/", "[::1]:80"),
    ],
)
def test_a_forbidden_address_is_named_as_the_operator_may_allow_it(url: str, name: str) -> None:
    """`SWELL_ALLOWED_HOSTS` takes `host:port`."""
    assert name_with_port(URL(url)) == name
