"""POST requests to webhooks, through the outbound guard."""

import asyncio
from collections.abc import Mapping

import aiohttp
from yarl import URL

from swell.errors import UpstreamFailed
from swell.net.outbound import send


class GuardedPoster:
    """A receiver has *seconds* to answer."""

    def __init__(self, session: aiohttp.ClientSession, seconds: float) -> None:
        self._session = session
        self._seconds = seconds

    async def post(self, url: str, headers: Mapping[str, str], content: bytes) -> int:
        """Send *content* and return the status. The body of the response is not read.

        Raises:
            AddressForbidden: the address is not public, and the operator has not named it.
            UpstreamFailed: the receiver does not answer, or not in time.
        """
        try:
            async with asyncio.timeout(self._seconds):
                response = await send(self._session, "POST", URL(url), headers, content, self._seconds)
        except TimeoutError as error:
            raise UpstreamFailed(f"no answer within {self._seconds:g} s") from error
        response.close()
        return response.status
