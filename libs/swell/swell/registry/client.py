"""Asking a registry: who we are to it is shown as it wants to see it, and whoever stumbles is asked again.

Source: OCI distribution-spec; what may be repeated is RFC 9110's idempotent methods.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
from yarl import URL

from swell.errors import UpstreamFailed
from swell.log import log
from swell.oci.reference import Reference
from swell.outbound import Data, translated
from swell.registry.address import endpoint
from swell.registry.auth import Authorizer
from swell.registry.credentials import Keyring

ANSWER_SECONDS = 30
PAUSES = (0.1, 0.4)
TRANSIENT = frozenset({502, 503, 504})

Sender = Callable[[aiohttp.ClientSession, str, URL, Mapping[str, str], Data | None], Awaitable[aiohttp.ClientResponse]]


class RegistryClient:
    """Asks registries; every method raises as `swell.outbound` does."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        keyring: Keyring,
        insecure: frozenset[str] = frozenset(),
        *,
        actions: str = "pull",
    ) -> None:
        """Registries in *insecure* (`host` or `host:port`), and those on this machine, are spoken to by plain http.

        *actions* are what tokens are asked for: `pull`, or `pull,push`.
        """
        self._session = session
        self._authorizer = Authorizer(session, keyring, actions)
        self._insecure = insecure

    def base(self, registry: str) -> URL:
        return endpoint(registry, self._insecure)

    async def ask(
        self, sender: Sender, method: str, reference: Reference, path: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """Ask for *path* below *reference*'s repository: `manifests/<reference>`, within 30 s until the headers."""
        url = self.base(reference.registry) / f"v2/{reference.repository}/{path}"
        return await self.ask_url(sender, method, reference, url, headers)

    async def ask_url(
        self,
        sender: Sender,
        method: str,
        reference: Reference,
        url: URL,
        headers: Mapping[str, str],
        data: Callable[[], Data] | None = None,
        seconds: float | None = None,
    ) -> aiohttp.ClientResponse:
        """Ask *url* for *reference*'s sake, and once more when it wants to see other credentials than we showed.

        *data* makes the body anew for each try; the answer's headers must be there after *seconds*, else 30.
        """
        with translated(url):
            async with asyncio.timeout(seconds or ANSWER_SECONDS):
                shown = await self._authorizer.known(reference)
                response = await self._try(sender, method, url, _with(shown, headers), data)
                if response.status != 401 or response.url.origin() != url.origin():
                    return response
                told = response.headers.getall("WWW-Authenticate", [])
                fresh = await self._authorizer.renewed(reference, told, shown, url)
                if fresh is None:
                    return response
                response.release()
                return await self._try(sender, method, url, _with(fresh, headers), data)

    async def _try(
        self,
        sender: Sender,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        data: Callable[[], Data] | None,
    ) -> aiohttp.ClientResponse:
        for pause in PAUSES:
            try:
                response = await sender(self._session, method, url, headers, data() if data else None)
                if response.status not in TRANSIENT:
                    return response
                response.release()
            except UpstreamFailed as error:
                log.info("upstream asked again", url=str(url), error=str(error))
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 (no secret)
        return await sender(self._session, method, url, headers, data() if data else None)


def _with(authorization: str | None, headers: Mapping[str, str]) -> Mapping[str, str]:
    return {**headers, "Authorization": authorization} if authorization else headers
