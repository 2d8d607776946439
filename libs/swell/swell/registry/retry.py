"""Retrying requests that fail, and circuit breakers for what keeps failing."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import aiohttp
from yarl import URL

from swell.errors import UpstreamBroken, UpstreamSlow
from swell.log import log
from swell.net.outbound import is_unconnected
from swell.registry.circuit_breaker import CircuitBreaker
from swell.registry.responses import retry_after_of

PAUSES = (0.1, 0.4)
LONGEST_PAUSE = 2
TRANSIENT = frozenset({502, 503, 504})


class RetryPolicy:
    """Sends a request up to three times after broken connections and status 502 to 504; pauses are about 0.1 and 0.4 s.

    A `Retry-After` of at most 2 s replaces the pause. After a longer one, and after 429, the response is returned.
    Requests must be idempotent.
    """

    def __init__(self, circuit_breaker: CircuitBreaker | None = None) -> None:
        self._circuit_breaker = circuit_breaker or CircuitBreaker()

    async def ask(
        self,
        url: URL,
        send: Callable[[], Awaitable[aiohttp.ClientResponse]],
        repository: str = "",
        *,
        fair_seconds: float = 0.0,
    ) -> aiohttp.ClientResponse:
        """Return the last response of *send*, a request to *url* for *repository*.

        A timeout before *fair_seconds* does not count as a failure of the host: the caller's deadline was too short.

        Raises:
            UpstreamDown: the circuit of *url*'s host, or of *repository* there, is open.
        """
        host, started = url.authority, time.monotonic()
        self._circuit_breaker.check(host, repository)
        try:
            response = await self._send_with_retries(url, send)
        except (UpstreamBroken, UpstreamSlow) as error:
            if error.host not in {None, host}:  # after a redirect: the requested host did answer
                self._circuit_breaker.refused(host, repository)
            elif is_unconnected(error):
                self._circuit_breaker.unreachable(host)
            elif isinstance(error, UpstreamBroken) or time.monotonic() - started >= fair_seconds:
                self._circuit_breaker.silent(host, repository)
            raise
        if response.status in TRANSIENT:
            self._circuit_breaker.refused(host, repository)
        else:
            self._circuit_breaker.answered(host, repository)
        return response

    def gave_up(self, url: URL, repository: str = "") -> None:
        """Record that a request to *url* for *repository* had no response in time."""
        self._circuit_breaker.silent(url.authority, repository)

    async def _send_with_retries(
        self, url: URL, send: Callable[[], Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        for pause in PAUSES:
            try:
                response = await send()
            except UpstreamBroken as error:
                log.info("request to upstream retried", url=str(url.with_query(None)), error=str(error))
                pause_of_server = None
            else:
                pause_of_server = retry_after_of(response.headers)
                if response.status not in TRANSIENT or (pause_of_server or 0) > LONGEST_PAUSE:
                    return response
                response.release()
            await asyncio.sleep(pause_of_server or pause * random.uniform(0.5, 1.5))  # noqa: S311 (no secret)
        return await send()
