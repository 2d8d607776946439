"""HTTP as Wave's clients speak it: one request at a time over HTTP/1.1, the same bytes again after trouble.

Source: what the `wave` command line 1.8.2 and Nextflow's nf-wave 1.22 were seen to do on the wire.
"""

import asyncio
from collections.abc import Mapping

import aiohttp
from msgspec import Struct

ATTEMPTS = 5
AGENT = "Java-http-client/17.0.15"
_LONGEST_WAIT = 90.0


class Unreachable(Exception):
    """No answer came, however often it was asked for."""


class Clock:
    """Time for clients that wait: a sleep takes *pace* of what it says, and is over for whoever looks at the time."""

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


class Patience(Struct, frozen=True):
    """Which statuses are worth another attempt, how long the first wait is, and whether `Retry-After` counts."""

    statuses: frozenset[int]
    first_wait: float
    heeds_retry_after: bool = False

    def wait(self, attempt: int, reply: Reply | None) -> float:
        """Seconds after *attempt*, the first being 0. The real clients move them by up to a quarter."""
        wait: float = min(self.first_wait * 2.0**attempt, _LONGEST_WAIT)
        told = reply.headers.get("Retry-After", "") if reply else ""
        if self.heeds_retry_after and told.isdecimal():
            return min(max(wait, float(told)), _LONGEST_WAIT)
        return wait


class Wire:
    """Asks the server at *endpoint*, of which slashes at the end are dropped and a path is kept."""

    def __init__(self, endpoint: str, patience: Patience, clock: Clock | None = None) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.clock = clock or Clock()
        self.attempts: list[tuple[str, bytes | None]] = []
        """Every method with its path, and the bytes that were sent."""
        self._patience = patience

    async def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """The last reply, whatever its status.

        Raises:
            Unreachable: there was none.
        """
        sent = {"Content-Type": "application/json", "User-Agent": AGENT, "Accept": "*/*"} | dict(headers or {})
        reply: Reply | None = None
        for attempt in range(ATTEMPTS):
            reply = await self._once(method, path, body, sent)
            if reply and reply.status not in self._patience.statuses:
                return reply
            if attempt < ATTEMPTS - 1:
                await self.clock.sleep(self._patience.wait(attempt, reply))
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
