"""Requests to one server: deadlines, attempts, limits, and errors of this client."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
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


class AsyncHttp:
    """Sends requests to the server at *url*. Its connections are opened when the first request is sent."""

    def __init__(self, url: str, headers: Mapping[str, str], retry: RetryPolicy, read_timeout: float) -> None:
        self.url = url.rstrip("/")
        self.headers = dict(headers)
        self.retry = retry
        self._read_timeout = read_timeout
        self._client: httpx2.AsyncClient | None = None
        self._process = os.getpid()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        client, self._client = self._client, None
        if client:
            await client.aclose()

    async def send(
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
        from tenacity import AsyncRetrying, retry_if_exception

        policy = self.retry
        async for attempt in AsyncRetrying(
            stop=policy.stops, wait=policy.wait, retry=retry_if_exception(policy.repeats), reraise=True
        ):
            with attempt:
                async with self.stream(method, path, body=body, params=params, headers=headers, sent=sent) as response:
                    return await self._read(response)
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        sent: Sent | None = None,
    ) -> "AsyncIterator[httpx2.Response]":
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
            response = await client.send(request, stream=True)
            try:
                if response.status_code >= 300:
                    raise failure(await self._read(response))
                yield response
            finally:
                await response.aclose()
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise Unreachable(f"{self.url} did not answer: {str(error) or type(error).__name__}") from error
        except httpx2.HTTPError as error:
            raise UnexpectedAnswer(f"{self.url}: {error}") from error

    async def _read(self, response: "httpx2.Response") -> Answer:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > MAX_ANSWER:
                raise UnexpectedAnswer(f"the answer has more than {MAX_ANSWER >> 20} MiB")
        return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, bytes(body))

    def _opened(self) -> "httpx2.AsyncClient":
        import httpx2

        if self._process != os.getpid():  # connections cannot be shared with the parent of a fork
            self._client, self._process = None, os.getpid()
        if self._client is None:
            if not self.url.startswith(("http://", "https://")):
                raise SwellClientError(
                    f"{self.url!r} is not the address of a server: it begins with https:// or http://"
                )
            timeout = httpx2.Timeout(self._read_timeout, connect=CONNECT_TIMEOUT)
            self._client = httpx2.AsyncClient(timeout=timeout)
        return self._client


def _counted(body: bytes, sent: Sent) -> "httpx2.AsyncByteStream":
    import httpx2

    class Counted(Pieces, httpx2.AsyncByteStream):
        pass

    return Counted(body, sent)
