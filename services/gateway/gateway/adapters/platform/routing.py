"""Routing of requests to Platforms: through a socket of this gateway, or of another one, or directly."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from time import monotonic

from gateway.adapters.platform.direct import DirectTransport
from gateway.adapters.platform.socket import PairingSocket
from gateway.domain.platform import Platform
from gateway.platform.pairings import Pairings
from gateway.platform.wire import PlatformAnswer, PlatformRequest, Transport
from swell.errors import PlatformSlow, PlatformUnreachable, Unavailable
from swell.jobs.calls import NoReceiver, NoReply, call, receiving
from swell.jobs.streams import Nats
from swell.log import log

MAX_SOCKETS = 32
"""Of one Platform, at one gateway."""
TIME_LIMIT = timedelta(seconds=15)
PAUSE = 0.25  # seconds before the second attempt, doubled each time
MARGIN = 1.0  # seconds that another gateway gets beyond the timeout of its socket


class NotSent(PlatformUnreachable):
    """No gateway holds a socket of the Seqera Platform, so the request was not sent."""


class Sockets:
    """The pairing sockets of this gateway; other gateways reach them over NATS."""

    def __init__(self, nats: Nats) -> None:
        self._nats = nats
        self._by_platform: defaultdict[str, list[PairingSocket]] = defaultdict(list)

    @asynccontextmanager
    async def holding(self, socket: PairingSocket) -> AsyncIterator[None]:
        """Route requests to *socket* while the block runs.

        Raises:
            Unavailable: NATS does not answer, or this gateway holds too many sockets of the Platform.
        """
        platform = socket.platform.id
        if len(self._by_platform[platform]) >= MAX_SOCKETS:
            raise Unavailable("the Platform has too many sockets at this gateway")
        async with receiving(self._nats, subject_of(socket.platform), PlatformRequest, socket.request):
            self._by_platform[platform].append(socket)
            try:
                yield
            finally:
                self._by_platform[platform].remove(socket)
                socket.close()

    def of(self, platform: Platform) -> PairingSocket | None:
        """Return the newest socket of *platform*, which most likely still works."""
        sockets = self._by_platform.get(platform.id)
        return sockets[-1] if sockets else None

    def demote(self, socket: PairingSocket) -> None:
        """Prefer the other sockets of the same Platform: this one may be dead."""
        sockets = self._by_platform.get(socket.platform.id, [])
        if socket in sockets:
            sockets.remove(socket)
            sockets.insert(0, socket)


class RoutedTransport:
    """See `gateway.platform.wire.Transport`. Each request is sent once."""

    def __init__(
        self, nats: Nats, sockets: Sockets, pairings: Pairings, timeout: timedelta, direct: DirectTransport
    ) -> None:
        self._nats = nats
        self._sockets = sockets
        self._pairings = pairings
        self._seconds = timeout.total_seconds() + MARGIN
        self._direct = direct

    async def send(self, platform: Platform, request: PlatformRequest) -> PlatformAnswer:
        if platform.direct:
            return await self._direct.send(platform, request)
        if socket := self._sockets.of(platform):
            try:
                return await socket.request(request)
            except PlatformSlow:
                self._sockets.demote(socket)
                raise
        try:
            return await call(self._nats, subject_of(platform), request, PlatformAnswer, self._seconds)
        except NoReceiver as error:
            await self._pairings.require(platform)
            raise NotSent(f"the Platform at {platform.endpoint} is not connected at the moment") from error
        except NoReply as error:
            raise PlatformSlow(f"the Platform at {platform.endpoint} does not answer in time") from error


class RetryingTransport:
    """Repeats requests for 15 s: those that change nothing, and those that were certainly not sent."""

    def __init__(self, transport: Transport, time_limit: timedelta = TIME_LIMIT) -> None:
        self._transport = transport
        self._time_limit = time_limit.total_seconds()

    async def send(self, platform: Platform, request: PlatformRequest) -> PlatformAnswer:
        """See `gateway.platform.wire.Transport`."""
        deadline, pause = monotonic() + self._time_limit, PAUSE
        while True:
            try:
                return await self._transport.send(platform, request)
            except (PlatformUnreachable, PlatformSlow) as error:
                may_repeat = request.method == "GET" or isinstance(error, NotSent)
                if not may_repeat or monotonic() + pause > deadline:
                    raise
                log.info("request to a Platform repeated", endpoint=platform.endpoint, error=str(error))
            await asyncio.sleep(pause)
            pause *= 2


def subject_of(platform: Platform) -> str:
    return f"platform.request.{platform.id}"
