"""Asking a registry: who we are to it is shown as it wants to see it, and whoever stumbles is asked again.

Source: OCI distribution-spec. What it has us ask may be repeated: RFC 9110's idempotent methods, and opening an upload,
which costs the registry nothing when it is not used.
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Mapping
from typing import Self

import aiohttp
from yarl import URL

from swell.oci.reference import Reference
from swell.outbound import Data, reach_of, translated
from swell.registry.address import endpoint
from swell.registry.auth import ANONYMOUS, Authorizer, Shown
from swell.registry.aws import AwsLogins
from swell.registry.credentials import Keyring
from swell.registry.patience import Patience
from swell.registry.principal import PUBLIC, Principal

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
        aws: AwsLogins | None = None,
    ) -> None:
        """Registries in *insecure* (`host` or `host:port`), and those on this machine, are spoken to by plain http.

        *actions* are what tokens are asked for: `pull`, or `pull,push`. Without *aws*, AWS keys open no registry.
        """
        self._session = session
        self._patience = Patience()
        self._authorizer = Authorizer(session, keyring, self._patience, actions, aws)
        self._insecure = insecure
        self._principal = PUBLIC

    def acting_for(self, principal: Principal) -> Self:
        """A view that sends the credentials of *principal*; without it, those of `PUBLIC`. All else is shared."""
        view = copy.copy(self)
        view._principal = principal
        return view

    def base(self, registry: str) -> URL:
        return endpoint(registry, self._insecure)

    async def ask(
        self, sender: Sender, method: str, reference: Reference, path: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """Ask for *path* below *reference*'s repository: `manifests/<reference>`."""
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

        *data* makes the body anew for each try. The answer's headers must be there after *seconds*, else within the
        session's answer timeout: with tokens, repetitions and redirects before it.
        """
        limit = seconds or reach_of(self._session).answer_timeout.total_seconds()
        with translated(url):
            try:
                async with asyncio.timeout(limit):
                    return await self._ask(sender, method, reference, url, headers, data)
            except TimeoutError:
                self._patience.gave_up(url, reference.repository)
                raise

    async def _ask(
        self,
        sender: Sender,
        method: str,
        reference: Reference,
        url: URL,
        headers: Mapping[str, str],
        data: Callable[[], Data] | None,
    ) -> aiohttp.ClientResponse:
        async def ask(shown: Shown) -> aiohttp.ClientResponse:
            sent = {**headers, "Authorization": shown.header} if shown.header else headers
            return await self._patience.ask(
                url, lambda: sender(self._session, method, url, sent, data() if data else None), reference.repository
            )

        def refuses(response: aiohttp.ClientResponse, status: int) -> bool:
            return response.status == status and response.url.origin() == url.origin()

        shown = await self._authorizer.remembered(reference, self._principal)
        response = await ask(shown)
        if shown.is_cached and refuses(response, 403):  # the token may have fewer rights than a new one
            response.release()
            self._authorizer.forget(reference, self._principal, shown)
            shown = ANONYMOUS
            response = await ask(shown)
        if not refuses(response, 401):
            return response
        challenges = response.headers.getall("WWW-Authenticate", [])
        fresh = await self._authorizer.renewed(reference, self._principal, challenges, shown, url)
        if fresh is None:
            return response
        response.release()
        response = await ask(fresh)
        if response.status not in {401, 403}:
            self._authorizer.accepted(reference, self._principal, fresh)
        return response
