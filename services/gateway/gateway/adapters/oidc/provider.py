"""What an issuer publishes: its endpoints and its keys.

Source: OpenID Connect Discovery 1.0, https://openid.net/specs/openid-connect-discovery-1_0.html
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import aiohttp
import msgspec
from msgspec import Struct
from yarl import URL

from gateway.adapters.oidc.verify import public_keys
from gateway.domain.access.issuers import Issuer
from swell.concurrency.single_flight import SingleFlight
from swell.errors import SwellError, Unavailable, UpstreamFailed
from swell.log import log
from swell.net.addresses import is_loopback
from swell.net.outbound import follow, read
from swell.settings import SettingsInvalid

if TYPE_CHECKING:
    from joserfc.jwk import Key

DOCUMENT_BYTES = 256 << 10
FETCH_SECONDS = 10.0
FRESH_SECONDS = 600.0
"""After that, keys are fetched again in the background: a key that the issuer has removed is used at most so long."""
USABLE_SECONDS = 3600.0
"""Without an answer of the issuer, its keys are used for so long."""
RETRY_SECONDS = 10.0
"""Between two requests for keys, however many tokens name unknown ones."""


class Endpoints(Struct, frozen=True):
    """The members of the discovery document that are used."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    end_session_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class Provider:
    """The endpoints and keys of *issuer*; they are fetched when they are first needed."""

    def __init__(
        self, session: aiohttp.ClientSession, issuer: Issuer, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Use *session*, which may connect to the hosts of the issuer.

        Raises:
            SettingsInvalid: the URL has no https, and is not on this machine.
        """
        url = URL(issuer.url)
        if url.scheme != "https" and not is_loopback(url.host or ""):
            raise SettingsInvalid(f"the issuer {issuer.name} must have a URL with https")
        self.issuer = issuer
        self.session = session
        self._now = now
        self._endpoints: Endpoints | None = None
        self._keys: dict[str, Key] = {}
        self._fetched = self._attempted = float("-inf")
        self._fetching: SingleFlight[str, None] = SingleFlight()

    async def key(self, key_id: str) -> "Key | None":
        """Return the key *key_id*; None if the issuer does not have it.

        A token without a key id is of the only key. An unknown id fetches the keys again, at most every 10 s.

        Raises:
            Unavailable: the issuer does not answer, and the keys of this process are older than an hour.
        """
        age = self._now() - self._fetched
        if age > USABLE_SECONDS:
            await self._refresh()
        elif age > FRESH_SECONDS:
            self.refresh_soon()
        if (key := self._find(key_id)) is None and (self._may_retry() or self._fetching.is_running("keys")):
            await self._refresh()
            key = self._find(key_id)
        return key

    def has(self, key_id: str) -> bool:
        """Return whether *key_id* is a key that may be used without a request; an old one is fetched again soon."""
        age = self._now() - self._fetched
        if age > FRESH_SECONDS:
            self.refresh_soon()
        return age <= USABLE_SECONDS and self._find(key_id) is not None

    def refresh_soon(self) -> None:
        """Fetch the keys again in the background, unless that was tried within the last 10 s."""
        if self._may_retry():
            self._fetching.begin("keys", self._fetch_quietly)

    async def endpoints(self) -> Endpoints:
        """Return the endpoints of the issuer, from the cache if they were fetched once.

        Raises:
            Unavailable: the issuer does not answer, or its document is not valid.
        """
        if self._endpoints is None:
            document = await self._fetch(URL(self.issuer.url.rstrip("/") + "/.well-known/openid-configuration"))
            try:
                self._endpoints = checked(msgspec.json.decode(document, type=Endpoints), self.issuer)
            except (ValueError, RecursionError) as error:
                raise self._unavailable(f"its discovery document is not valid: {error}") from error
        return self._endpoints

    def _find(self, key_id: str) -> "Key | None":
        if not key_id and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _may_retry(self) -> bool:
        return self._now() - self._attempted >= RETRY_SECONDS

    async def _fetch_quietly(self) -> None:
        try:
            await self._fetch_keys()
        except Unavailable as error:
            log.warning("keys of an issuer not fetched", issuer=self.issuer.url, error=str(error))

    async def _refresh(self) -> None:
        if not (self._may_retry() or self._fetching.is_running("keys")):
            raise self._unavailable("it did not answer a moment ago")
        await self._fetching.run("keys", self._fetch_keys)
        if self._now() - self._fetched > USABLE_SECONDS:  # it joined a request in the background, which failed
            raise self._unavailable("it does not answer")

    async def _fetch_keys(self) -> None:
        self._attempted = self._now()
        content = await self._fetch(URL((await self.endpoints()).jwks_uri))
        try:
            self._keys = public_keys(content)
        except (ValueError, RecursionError) as error:
            raise self._unavailable(f"its keys are not valid: {error}") from error
        self._fetched = self._now()

    async def _fetch(self, url: URL) -> bytes:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                async with await follow(self.session, "GET", url, {"Accept": "application/json"}) as response:
                    if response.status != 200:
                        raise UpstreamFailed(f"{url.authority} answers {response.status}")
                    return await read(response, DOCUMENT_BYTES)
        except (SwellError, TimeoutError) as error:
            raise self._unavailable(str(error) or "it does not answer in time") from error

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(f"the token cannot be verified now: {self.issuer.url}: {why}")


def checked(endpoints: Endpoints, issuer: Issuer) -> Endpoints:
    """Return *endpoints* if they are those of *issuer*, with https unless the issuer is on this machine.

    Raises:
        ValueError: they are not.
    """
    if endpoints.issuer != issuer.url:
        raise ValueError("it names another issuer")
    urls = endpoints.jwks_uri, endpoints.authorization_endpoint, endpoints.token_endpoint
    for url in filter(None, urls):
        if URL(url).scheme not in {"https", URL(issuer.url).scheme}:
            raise ValueError("it names an endpoint without https")
    return endpoints
