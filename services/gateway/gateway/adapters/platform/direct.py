"""Requests to a Seqera Platform over HTTPS, for Platforms that the operator has marked as direct."""

import asyncio
from datetime import timedelta

import aiohttp
from yarl import URL

from gateway.domain.platform import Platform
from gateway.platform.wire import MAX_BODY, PlatformAnswer, PlatformRequest
from swell.errors import AddressForbidden, PlatformSlow, PlatformUnreachable, UpstreamFailed
from swell.net.outbound import read, send


class DirectTransport:
    """Sends requests with *session*, whose policy allows the hosts of the Platforms; redirects are not followed."""

    def __init__(self, session: aiohttp.ClientSession, timeout: timedelta) -> None:
        self._session = session
        self._seconds = timeout.total_seconds()

    async def send(self, platform: Platform, request: PlatformRequest) -> PlatformAnswer:
        """See `gateway.platform.wire.Transport`."""
        headers = {name: ", ".join(values) for name, values in request.headers.items()}
        if request.auth:
            headers["authorization"] = request.auth
        body = request.body.encode() if request.body is not None else None
        try:
            async with asyncio.timeout(self._seconds):
                response = await send(self._session, request.method, URL(request.url, encoded=True), headers, body)
                async with response:
                    content = await read(response, MAX_BODY)
        except TimeoutError as error:
            raise PlatformSlow(f"the Platform at {platform.endpoint} does not answer in time") from error
        except (UpstreamFailed, AddressForbidden) as error:
            raise PlatformUnreachable(f"the Platform at {platform.endpoint} cannot be reached: {error}") from error
        received = {name.lower(): tuple(response.headers.getall(name)) for name in response.headers}
        return PlatformAnswer(status=response.status, body=content.decode("utf-8", "replace"), headers=received)
