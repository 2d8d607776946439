"""The client for registries: authentication, retries and circuit breakers.

Every request may be repeated: idempotent methods, and opening an upload, which has no effect when it is not used.
Sources: OCI distribution-spec, https://github.com/opencontainers/distribution-spec/blob/main/spec.md; RFC 9110, section
9.2.2, https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Mapping
from typing import Self

import aiohttp
from cachetools import TTLCache
from yarl import URL

from swell.concurrency.deadline import at_most
from swell.concurrency.single_flight import SingleFlight
from swell.errors import Denied, SwellError
from swell.net.outbound import Data, reach_of, send, translated
from swell.oci.media_types import ACCEPT
from swell.oci.reference import Reference
from swell.registry.address import endpoint
from swell.registry.auth import ANONYMOUS, Authorizations, Authorizer, Shown
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.keyring import Credentials, Keyring
from swell.registry.credentials.principal import OPERATOR, PUBLIC, Principal
from swell.registry.retry import RetryPolicy

PUBLIC_SECONDS, REFUSED_SECONDS = 300, 60  # life of the cached answer to "is the image public?"
MOST_REPOSITORIES = 10_000

Sender = Callable[[aiohttp.ClientSession, str, URL, Mapping[str, str], Data | None], Awaitable[aiohttp.ClientResponse]]


class RegistryClient:
    """Sends requests to registries; every method raises the errors of `swell.net.outbound`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        keyring: Keyring,
        insecure: frozenset[str] = frozenset(),
        *,
        actions: str = "pull",
        aws: AwsLogins | None = None,
        accepted: Authorizations | None = None,
    ) -> None:
        """Registries in *insecure* (`host` or `host:port`), and those on this machine, use plain http.

        *actions* are the actions of tokens: `pull`, or `pull,push`. Without *aws*, AWS keys are not exchanged. What
        registries have *accepted* from another client is sent again, if the credentials are the same.
        """
        self._session = session
        self._retries = RetryPolicy()
        self._keyring = keyring
        self._only_reads = actions == "pull"
        self._is_public: TTLCache[str, bool] = TTLCache(MOST_REPOSITORIES, PUBLIC_SECONDS)
        self._is_refused: TTLCache[str, bool] = TTLCache(MOST_REPOSITORIES, REFUSED_SECONDS)
        self._probing: SingleFlight[str, bool] = SingleFlight()
        self._authorizer = Authorizer(session, keyring, self._retries, actions, aws, accepted)
        self._insecure = insecure
        self._principal = PUBLIC

    def acting_for(self, principal: Principal) -> Self:
        """Return a view that uses the credentials of *principal* and shares all caches; the default is `PUBLIC`."""
        view = copy.copy(self)
        view._principal = principal
        return view

    async def user_credentials(self, reference: Reference, principal: Principal) -> Credentials | None:
        """Return the credentials for *reference* of the users and workspaces in *principal*; see `Keyring.load`."""
        return await self._keyring.load(reference, principal)

    def base(self, registry: str) -> URL:
        return endpoint(registry, self._insecure)

    async def ask(
        self, sender: Sender, method: str, reference: Reference, path: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """Request *path* in the repository of *reference*, such as `manifests/<reference>`."""
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
        """Request *url* for *reference*, and again with other credentials when the registry requires them.

        *data* returns the body for each attempt. The deadline for the response headers is *seconds*, or the answer
        timeout of the session; it includes tokens, retries and redirects, and the current deadline.
        """
        await self._keyring.load(reference, self._principal)
        limit = seconds or reach_of(self._session).answer_timeout.total_seconds()
        left = at_most(limit)
        with translated(url):
            try:
                async with asyncio.timeout(left):
                    return await self._ask(sender, method, reference, url, headers, data)
            except TimeoutError:
                if left >= limit / 2:  # otherwise the caller's deadline was too short
                    self._retries.gave_up(url, reference.repository)
                raise

    async def ask_once(self, sender: Sender, method: str, reference: Reference, url: URL) -> aiohttp.ClientResponse:
        """Request *url* with what the registry has accepted for *reference*; a refusal removes nothing from the cache.

        For requests that may fail: nothing is repeated, and no token is requested if one is cached.
        """
        with translated(url):
            shown = await self._authorizer.remembered(reference, self._principal)
            return await sender(
                self._session, method, url, {"Authorization": shown.header} if shown.header else {}, None
            )

    async def _ask(
        self,
        sender: Sender,
        method: str,
        reference: Reference,
        url: URL,
        headers: Mapping[str, str],
        data: Callable[[], Data] | None,
    ) -> aiohttp.ClientResponse:
        acting = await self._acting(method, reference, url, headers)
        return await self._ask_as(acting, sender, method, reference, url, headers, data)

    async def _acting(self, method: str, reference: Reference, url: URL, headers: Mapping[str, str]) -> Principal:
        """Return the principal to use: for public images the operator, who has higher rate limits."""
        if not self._only_reads or method not in {"GET", "HEAD"}:
            return self._principal
        if self._keyring.find(reference, self._principal) or not self._keyring.entry(reference):
            return self._principal
        return OPERATOR if await self.is_public(reference, url, headers) else self._principal

    async def is_public(self, reference: Reference, url: URL, headers: Mapping[str, str]) -> bool:
        """Return whether *url* can be read without credentials; the answer is cached for the whole repository."""
        name = reference.name
        if (known := self._is_public.get(name)) or name in self._is_refused:
            return bool(known)
        return await self._probing.run(f"{name} {url}", lambda: self._probe(reference, url, headers))

    async def is_publicly_readable(self, image: Reference) -> bool:
        """Return whether *image* can be read without credentials."""
        url = self.base(image.registry) / f"v2/{image.repository}/manifests/{image.reference}"
        return await self.is_public(image, url, {"Accept": ACCEPT})

    async def _probe(self, reference: Reference, url: URL, headers: Mapping[str, str]) -> bool:
        try:
            response = await self._ask_as(PUBLIC, send, "HEAD", reference, url, headers, None)
        except Denied:
            self._is_refused[reference.name] = True
            return False
        except SwellError:
            return False  # the request itself reports the problem
        response.release()
        if response.status in {401, 403}:
            self._is_refused[reference.name] = True
        if response.status < 400:
            self._is_public[reference.name] = True
        return response.status < 400

    async def _ask_as(
        self,
        principal: Principal,
        sender: Sender,
        method: str,
        reference: Reference,
        url: URL,
        headers: Mapping[str, str],
        data: Callable[[], Data] | None,
    ) -> aiohttp.ClientResponse:
        async def ask(shown: Shown) -> aiohttp.ClientResponse:
            sent = {**headers, "Authorization": shown.header} if shown.header else headers
            return await self._retries.ask(
                url,
                lambda: sender(self._session, method, url, sent, data() if data else None),
                reference.repository,
                fair_seconds=reach_of(self._session).answer_timeout.total_seconds() / 2,
            )

        def refuses(response: aiohttp.ClientResponse, status: int) -> bool:
            return response.status == status and response.url.origin() == url.origin()

        shown = await self._authorizer.remembered(reference, principal)
        response = await ask(shown)
        if shown.is_cached and refuses(response, 403):  # a new token may have more rights
            response.release()
            self._authorizer.forget(reference, principal, shown)
            shown = ANONYMOUS
            response = await ask(shown)
        if not refuses(response, 401):
            return response
        challenges = response.headers.getall("WWW-Authenticate", [])
        fresh = await self._authorizer.renewed(reference, principal, challenges, shown, url)
        if fresh is None:
            return response
        response.release()
        response = await ask(fresh)
        if response.status not in {401, 403}:
            self._authorizer.accepted(reference, principal, fresh)
        return response
