# Written by tools/sync_client.py from the module of the same name in _async. Do not edit it.
"""Follow the log of a build: reconnect when the connection breaks, and continue at the same line."""

from collections.abc import Generator
from datetime import timedelta

import msgspec

from swell_client._sync.http import Http
from swell_client.blocking import sleep
from swell_client.errors import LogUnavailable, RequestFailed, UnexpectedAnswer, Unreachable
from swell_client.events import Ended, Event, read_event
from swell_client.retry import RetryPolicy

POLICY = RetryPolicy(attempts=40, first_wait=timedelta(milliseconds=250), longest_wait=timedelta(seconds=15))
"""Attempts in a row without a new event: about eight minutes, longer than a restart of the server takes."""


def follow(http: Http, path: str, after: str = "", policy: RetryPolicy = POLICY) -> Generator[Event]:
    """Yield the events of the log at *path* behind the position *after*, to the end of the build.

    Raises:
        LogUnavailable: the stream broke, and could not be resumed after all attempts.
        RequestFailed: the build is unknown.
    """
    failures = 0
    while True:
        problem = "the stream ended early"
        wait = 0.0
        try:
            for event in _once(http, path, after):
                failures, after = 0, event.id or after
                yield event
                if isinstance(event, Ended):
                    return
        except _Complete:
            return
        except RequestFailed as error:
            if not policy.repeats(error):
                raise
            problem, wait = str(error), error.retry_after or 0.0
        except (Unreachable, UnexpectedAnswer) as error:
            problem = str(error)
        failures += 1
        if failures >= policy.attempts:
            raise LogUnavailable(f"the log of the build cannot be followed: {problem}")
        backoff = policy.first_wait.total_seconds() * 2.0 ** min(failures - 1, 10)
        sleep(max(wait, min(backoff, policy.longest_wait.total_seconds())))


class _Complete(Exception):
    """The client has the last event."""


def _once(http: Http, path: str, after: str) -> Generator[Event]:
    """Yield the events of one connection, which can end early."""
    import httpx2

    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
    with http.stream("GET", path, headers=headers) as response:
        if response.status_code == 204:
            raise _Complete
        for sent in httpx2.EventSource(response):
            if sent.retry is not None:  # how long to wait before the next connection; the policy decides that
                continue
            try:
                event = read_event(sent.event, sent.data, sent.id)
            except (msgspec.MsgspecError, KeyError, RecursionError) as error:
                raise UnexpectedAnswer(f"an event of the log cannot be read: {error}") from error
            if event:
                yield event
