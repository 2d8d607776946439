# Written by tools/sync_client.py from the module of the same name in _async. Do not edit it.
"""Requests to one server: deadlines, attempts, limits, and errors of this client."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from swell_client.body import MAX_ANSWER, Answer, Pieces, Sent, failure
from swell_client.errors import SwellClientError, UnexpectedAnswer, Unreachable
from swell_client.retry import RetryPolicy

if TYPE_CHECKING:
    import httpx2

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 120.0
"""Seconds without a byte. Live logs have a comment every 15 seconds; an answer can take as long as a solve."""


class Http:
    """Sends requests to the server at *url*. Its connections are opened when the first request is sent."""

    def __init__(self, url: str, headers: Mapping[str, str], retry: RetryPolicy, read_timeout: float) -> None:
        self.url = url.rstrip("/")
        self.headers = dict(headers)
        self.retry = retry
        self._read_timeout = read_timeout
        self._client: httpx2.Client | None = None
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        client, self._client = self._client, None
        if client:
            client.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        sent: Sent | None = None,
    ) -> Answer:
        """Return the answer, which has a status below 300. *body* is JSON.

        Raises:
            RequestFailed: the server answered with an error, also to the last attempt.
            Unreachable: the server did not answer.
        """
        from tenacity import Retrying, retry_if_exception

        policy = self.retry
        for attempt in Retrying(
            stop=policy.stops, wait=policy.wait, retry=retry_if_exception(policy.repeats), reraise=True
        ):
            with attempt:
                with self.stream(method, path, body=body, params=params, headers=headers, sent=sent) as response:
                    return self._read(response)
        raise AssertionError("unreachable")

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        sent: Sent | None = None,
    ) -> "Iterator[httpx2.Response]":
        """Send a request once, and yield the response, whose status is below 300, before its body is read.

        Raises:
            RequestFailed: the server answered with an error.
            Unreachable: the server did not answer, or the connection broke.
        """
        import httpx2

        client = self._opened()
        json = {"Content-Type": "application/json"} if body is not None else {}
        all_headers = self.headers | json | dict(headers or {})
        request = client.build_request(method, self.url + path, content=body, params=params, headers=all_headers)
        for name in {"Accept", "Accept-Encoding", "Connection"} - all_headers.keys():
            request.headers.pop(name, None)  # those of the library
        if body is not None and sent:
            request.stream = _counted(body, sent)
        try:
            response = client.send(request, stream=True)
            try:
                if response.status_code >= 300:
                    raise failure(self._read(response))
                yield response
            finally:
                response.close()
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise Unreachable(f"{self.url} did not answer: {str(error) or type(error).__name__}") from error
        except httpx2.HTTPError as error:
            raise UnexpectedAnswer(f"{self.url}: {error}") from error

    def _read(self, response: "httpx2.Response") -> Answer:
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > MAX_ANSWER:
                raise UnexpectedAnswer(f"the answer has more than {MAX_ANSWER >> 20} MiB")
        return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, bytes(body))

    def _opened(self) -> "httpx2.Client":
        import httpx2

        if self._process != os.getpid():  # connections cannot be shared with the parent of a fork
            self._client, self._process = None, os.getpid()
        if self._client is None:
            if not self.url.startswith(("http://", "https://")):
                raise SwellClientError(
                    f"{self.url!r} is not the address of a server: it begins with https:// or http://"
                )
            timeout = httpx2.Timeout(self._read_timeout, connect=CONNECT_TIMEOUT)
            self._client = httpx2.Client(timeout=timeout)
        return self._client


def _counted(body: bytes, sent: Sent) -> "httpx2.SyncByteStream":
    import httpx2

    class Counted(Pieces, httpx2.SyncByteStream):
        pass

    return Counted(body, sent)
