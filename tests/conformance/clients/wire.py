"""HTTP as Wave's clients use it: one request at a time over HTTP/1.1, the same bytes again after a failure.

Recorded requests of the `wave` command line 1.8.2 and Nextflow's nf-wave 1.22.
"""

import asyncio
from collections.abc import Mapping

import aiohttp
from msgspec import Struct

ATTEMPTS = 5
AGENT = "Java-http-client/17.0.15"
_LONGEST_WAIT = 90.0


class Unreachable(Exception):
    """No attempt got a response."""


class Clock:
    """A clock for clients that wait: a sleep takes *pace* times its length in real time."""

    def __init__(self, pace: float = 0.0) -> None:
        self._pace = pace
        self.now = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        await asyncio.sleep(seconds * self._pace)


class Reply(Struct, frozen=True):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


class RetryRules(Struct, frozen=True):
    """Which statuses are retried, how long the first wait is, and whether `Retry-After` is obeyed."""

    statuses: frozenset[int]
    first_wait: float
    heeds_retry_after: bool = False

    def wait(self, attempt: int, reply: Reply | None) -> float:
        """Return the seconds to wait after *attempt*, which counts from 0. Real clients vary it by a quarter."""
        wait: float = min(self.first_wait * 2.0**attempt, _LONGEST_WAIT)
        retry_after = reply.headers.get("Retry-After", "") if reply else ""
        if self.heeds_retry_after and retry_after.isdecimal():
            return min(max(wait, float(retry_after)), _LONGEST_WAIT)
        return wait


class Wire:
    """Sends requests to *endpoint*; slashes at its end are removed, its path is used."""

    def __init__(self, endpoint: str, rules: RetryRules, clock: Clock | None = None) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.clock = clock or Clock()
        self.attempts: list[tuple[str, bytes | None]] = []
        """The method and path of every request, with its body."""
        self._rules = rules

    async def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Return the last response, with any status.

        Raises:
            Unreachable: no attempt got a response.
        """
        sent = {"Content-Type": "application/json", "User-Agent": AGENT, "Accept": "*/*"} | dict(headers or {})
        reply: Reply | None = None
        for attempt in range(ATTEMPTS):
            reply = await self._once(method, path, body, sent)
            if reply and reply.status not in self._rules.statuses:
                return reply
            if attempt < ATTEMPTS - 1:
                await self.clock.sleep(self._rules.wait(attempt, reply))
        if reply is None:
            raise Unreachable(f"Unable to connect to {self.endpoint}")
        return reply

    async def _once(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply | None:
        self.attempts.append((f"{method} {path}", body))
        length = {"Content-Length": "0"} if body is None else {}
        try:
            async with (
                aiohttp.ClientSession(skip_auto_headers=["Accept-Encoding"]) as session,
                session.request(
                    method,
                    self.endpoint + path,
                    data=body,
                    headers=length | dict(headers),
                    allow_redirects=False,
                ) as answer,
            ):
                return Reply(answer.status, dict(answer.headers), await answer.read())
        except (aiohttp.ClientError, OSError):
            return None
