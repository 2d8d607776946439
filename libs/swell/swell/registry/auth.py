"""How we show upstream registries who we are: nobody, HTTP Basic, or a token from the realm that they name.

Source: distribution-spec's token authentication; the realm gives a token for one scope: actions in one repository.
"""

import asyncio
import re
import time
from collections.abc import Iterable
from functools import partial
from urllib.parse import urlencode

import aiohttp
import msgspec
from cachetools import LRUCache, TLRUCache
from msgspec import Struct
from yarl import URL

from swell.errors import SwellError, UpstreamFailed
from swell.flights import Flights
from swell.log import log
from swell.oci.reference import Reference
from swell.outbound import follow, reach_of, reachable, read, send, translated
from swell.registry.answers import failure
from swell.registry.aws import AwsLogins
from swell.registry.challenge import Challenge, choose, parse_challenges
from swell.registry.credentials import Credentials, Keyring
from swell.registry.fingerprints import Fingerprints
from swell.registry.patience import Patience
from swell.registry.principal import Principal

KEPT = 10_000
TOKEN_BYTES = 1 << 20
DEFAULT_SECONDS = 60
LONGEST_SECONDS = 12 * 3600
SKEW_SECONDS = 10
YOUNG = 0.75  # the part of a token's life after which the next is fetched, while this one is still shown
_TOKEN = re.compile(r"[!-~]+")


class _TokenAnswer(Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None


class _Token(Struct, frozen=True):
    """`young` and `until` are on the monotonic clock."""

    header: str
    young: float
    until: float


class Authorizer:
    """Gives the `Authorization` header for a reference: what worked before, or the answer to a challenge.

    Tokens are cached by principal, realm, service, scope and the whole credentials, as long as the realm says. They
    are fetched again some time before that, so that no request waits.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        keyring: Keyring,
        patience: Patience,
        actions: str = "pull",
        aws: AwsLogins | None = None,
    ) -> None:
        self._session = session
        self._patience = patience
        self._actions = actions
        self._aws = aws
        self._keyring = keyring
        self._fingerprints = Fingerprints()
        self._challenges: LRUCache[str, Challenge] = LRUCache(KEPT)
        self._tokens: TLRUCache[bytes, _Token] = TLRUCache(KEPT, _expiry, time.monotonic)
        self._asking: Flights[bytes, _Token] = Flights()
        self._ahead: dict[bytes, asyncio.Task[None]] = {}

    async def known(self, reference: Reference, principal: Principal) -> str | None:
        """What to send at once, from what this registry wanted to see before; None for nothing."""
        challenge = self._challenges.get(reference.registry)
        return await self._answer(challenge, reference, principal) if challenge else None

    async def renewed(
        self, reference: Reference, principal: Principal, told: Iterable[str], refused: str | None, endpoint: URL
    ) -> str | None:
        """What to send after a 401 that *told* these challenges and *refused* that header; None when nothing is left.

        Raises:
            UpstreamFailed: the realm makes no sense, or gives no token.
            Denied: the realm refuses.
        """
        challenge = choose(parse_challenges(told))
        if challenge is None:
            return None
        if challenge.scheme == "bearer":
            check_realm(challenge, endpoint)
            self._drop(self._key(challenge, reference, principal), refused)
        self._challenges[reference.registry] = challenge
        answer = await self._answer(challenge, reference, principal)
        return None if answer == refused else answer

    async def _answer(self, challenge: Challenge, reference: Reference, principal: Principal) -> str | None:
        if challenge.scheme == "basic":
            credentials = await self._login(reference, principal)
            return credentials.basic if credentials else None
        key = self._key(challenge, reference, principal)
        token = self._tokens.get(key)
        if token is None:
            return (await self._fetched(key, challenge, reference, principal)).header
        if token.young <= time.monotonic() and key not in self._ahead:
            self._ahead[key] = asyncio.create_task(self._renewed_ahead(key, challenge, reference, principal))
        return token.header

    async def _renewed_ahead(
        self, key: bytes, challenge: Challenge, reference: Reference, principal: Principal
    ) -> None:
        try:
            await self._fetched(key, challenge, reference, principal)
        except SwellError as error:
            log.info("token not renewed ahead", registry=reference.registry, error=str(error))
        finally:
            del self._ahead[key]

    async def _fetched(self, key: bytes, challenge: Challenge, reference: Reference, principal: Principal) -> _Token:
        token = await self._asking.join(key, lambda: self._ask(challenge, reference, principal))
        self._tokens[key] = token
        return token

    async def _login(self, reference: Reference, principal: Principal) -> Credentials | None:
        found = self._keyring.find(reference, principal)
        return await self._aws.login(reference.registry, found) if found and self._aws else found

    async def _ask(self, challenge: Challenge, reference: Reference, principal: Principal) -> _Token:
        """Within half of the answer timeout: the other half is for what the token is wanted for."""
        query = {"scope": self._scope(reference)}
        if service := challenge.parameters.get("service"):
            query["service"] = service
        url = URL(challenge.parameters["realm"]).extend_query(query)
        credentials = await self._login(reference, principal)
        with translated(url):
            async with asyncio.timeout(reach_of(self._session).answer_timeout.total_seconds() / 2):
                response = await self._patience.ask(url, partial(self._show, url, credentials), reference.name)
                async with response:
                    if response.status != 200:
                        raise failure(
                            response.status, response.headers, f"a token for '{reference.name}'", UpstreamFailed
                        )
                    return _token(await read(response, TOKEN_BYTES), reference)

    async def _show(self, url: URL, credentials: Credentials | None) -> aiohttp.ClientResponse:
        """Ask *url* for a token. An identity token goes in a body, so no redirect is followed with it.

        Source: distribution's "Docker Registry v2 authentication using OAuth2".
        """
        if credentials and credentials.identity_token:
            told = {"grant_type": "refresh_token", "client_id": "swell", "refresh_token": credentials.identity_token}
            form = urlencode(dict(url.query) | told).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return await send(self._session, "POST", url.with_query(None), headers, form)
        headers = {"Authorization": credentials.basic} if credentials else {}
        return await follow(self._session, "GET", url, headers)

    def _drop(self, key: bytes, refused: str | None) -> None:
        """Forget the token if it is the one that was *refused*; another task may have fetched a new one already."""
        token = self._tokens.get(key)
        if token and token.header == refused:
            self._tokens.pop(key, None)

    def _key(self, challenge: Challenge, reference: Reference, principal: Principal) -> bytes:
        who = self._keyring.find(reference, principal)
        parts = principal, challenge.parameters["realm"], challenge.parameters.get("service"), self._scope(reference)
        return self._fingerprints.of(*parts, *((who.basic, who.identity_token) if who else (None, None)))

    def _scope(self, reference: Reference) -> str:
        return f"repository:{reference.repository}:{self._actions}"


def check_realm(challenge: Challenge, endpoint: URL) -> None:
    """Credentials go to the realm that the registry names, but never less protected than to the registry itself."""
    realm = reachable(challenge.parameters["realm"])
    if realm is None or realm.user or realm.scheme not in {"https", endpoint.scheme}:
        raise UpstreamFailed(f"{endpoint.authority} asks for a token from a place that we do not trust")


def _token(content: bytes, reference: Reference) -> _Token:
    try:
        answer = msgspec.json.decode(content, type=_TokenAnswer)
    except msgspec.MsgspecError as error:
        raise UpstreamFailed(f"the token service of {reference.registry} makes no sense") from error
    token = answer.token or answer.access_token or ""
    if not _TOKEN.fullmatch(token):
        raise UpstreamFailed(f"the token service of {reference.registry} gives no token")
    now, lives = time.monotonic(), min(answer.expires_in or DEFAULT_SECONDS, LONGEST_SECONDS) - SKEW_SECONDS
    return _Token(f"Bearer {token}", now + lives * YOUNG, now + lives)


def _expiry(_: bytes, token: _Token, _now: float) -> float:
    return token.until
