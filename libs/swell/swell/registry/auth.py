"""Authentication at registries: anonymous, HTTP Basic, or a bearer token from the realm in the challenge.

A token is valid for one scope: actions in one repository.
Source: distribution, "Token Authentication Specification", https://distribution.github.io/distribution/spec/auth/token/
"""

import asyncio
import re
import time
from collections.abc import Iterable
from functools import partial
from urllib.parse import urlencode

import aiohttp
import msgspec
from cachetools import TLRUCache, TTLCache
from msgspec import Struct
from yarl import URL

from swell.concurrency.deadline import at_most
from swell.concurrency.single_flight import SingleFlight
from swell.errors import SwellError, UpstreamFailed
from swell.log import log
from swell.net.outbound import follow, reach_of, reachable, read, send, translated
from swell.oci.reference import Reference
from swell.registry.challenge import Challenge, choose, parse_challenges
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.fingerprints import Fingerprints
from swell.registry.credentials.keyring import Credentials, Keyring
from swell.registry.credentials.principal import Principal
from swell.registry.responses import failure
from swell.registry.retry import RetryPolicy

KEPT = 10_000
TOKEN_BYTES = 1 << 20
DEFAULT_SECONDS = 60
LONGEST_SECONDS = 600  # permissions change; some services issue tokens for half a day
CHALLENGE_SECONDS = 300
SKEW_SECONDS = 10
YOUNG = 0.75  # the part of a token's life after which the next one is fetched in the background
_TOKEN = re.compile(r"[!-~]+")


class _TokenAnswer(Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: object = None


class Shown(Struct, frozen=True):
    """The `Authorization` header of a request, or None, and the challenge that it answers.

    `is_cached`: the header is a token of an earlier request. `error`: the challenge could not be answered.
    """

    header: str | None = None
    challenge: Challenge | None = None
    is_cached: bool = False
    error: SwellError | None = None


ANONYMOUS = Shown()


class _Token(Struct, frozen=True):
    """`young` and `until` are on the monotonic clock."""

    header: str
    young: float
    until: float


class Authorizations:
    """What registries have accepted: the last challenge of each, and tokens.

    The cache key of a token is the principal, realm, service, scope and credentials, so authorizers with different
    keyrings may share this. A token is cached for its life, at most ten minutes. The accepted challenge of a registry
    is cached for five minutes for each principal.
    """

    def __init__(self) -> None:
        self.fingerprints = Fingerprints()
        self.challenges: TTLCache[tuple[str, Principal], Challenge] = TTLCache(KEPT, CHALLENGE_SECONDS, time.monotonic)
        self.tokens: TLRUCache[bytes, _Token] = TLRUCache(KEPT, _expiry, time.monotonic)
        self.asking: SingleFlight[bytes, _Token] = SingleFlight()
        self.renewals: SingleFlight[bytes, None] = SingleFlight()


class Authorizer:
    """Provides the `Authorization` header for a reference: a cached one, or the answer to a challenge.

    A token is renewed in the background before it expires.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        keyring: Keyring,
        retries: RetryPolicy,
        actions: str = "pull",
        aws: AwsLogins | None = None,
        accepted: Authorizations | None = None,
    ) -> None:
        self._session = session
        self._retries = retries
        self._actions = actions
        self._aws = aws
        self._keyring = keyring
        self._accepted = accepted or Authorizations()

    async def remembered(self, reference: Reference, principal: Principal) -> Shown:
        """Return the header that the registry recently accepted from *principal*.

        When it cannot be renewed, the challenge is removed from the cache and the request is anonymous: the registry
        may send another challenge.
        """
        challenge = self._accepted.challenges.get((reference.registry, principal))
        if challenge is None:
            return ANONYMOUS
        try:
            return await self._answer(challenge, reference, principal)
        except SwellError as error:
            log.info("cached challenge failed", registry=reference.registry, error=str(error))
            self._accepted.challenges.pop((reference.registry, principal), None)
            return Shown(challenge=challenge, error=error)

    async def renewed(
        self, reference: Reference, principal: Principal, headers: Iterable[str], refused: Shown, endpoint: URL
    ) -> Shown | None:
        """Return the header to send after a 401 with `WWW-Authenticate` *headers*; None when there is no other.

        Raises:
            UpstreamFailed: the realm is invalid, or issues no token.
            Denied: the realm refuses the credentials.
        """
        self.forget(reference, principal, refused)
        challenge = choose(parse_challenges(headers))
        if challenge is None:
            return None
        if challenge.scheme == "bearer":
            check_realm(challenge, endpoint)
        if refused.error and refused.challenge and _place(challenge) == _place(refused.challenge):
            raise refused.error  # the same request has just failed
        answer = await self._answer(challenge, reference, principal)
        return None if answer.header in {None, refused.header} else answer

    def accepted(self, reference: Reference, principal: Principal, shown: Shown) -> None:
        """Cache the challenge that *shown* answers, because the registry accepted it."""
        if shown.challenge:
            self._accepted.challenges[reference.registry, principal] = shown.challenge

    def forget(self, reference: Reference, principal: Principal, refused: Shown) -> None:
        """Remove the *refused* challenge and token from the caches; a newer token of another task stays."""
        if refused.challenge is None:
            return
        self._accepted.challenges.pop((reference.registry, principal), None)
        if refused.challenge.scheme == "bearer":
            key = self._key(refused.challenge, reference, principal)
            token = self._accepted.tokens.get(key)
            if token and token.header == refused.header:
                self._accepted.tokens.pop(key, None)

    async def _answer(self, challenge: Challenge, reference: Reference, principal: Principal) -> Shown:
        if challenge.scheme == "basic":
            credentials = await self._login(reference, principal)
            return Shown(credentials.basic if credentials else None, challenge)
        key = self._key(challenge, reference, principal)
        token = self._accepted.tokens.get(key)
        if token is None:
            return Shown((await self._fetched(key, challenge, reference, principal)).header, challenge)
        if token.young <= time.monotonic():
            self._accepted.renewals.begin(key, lambda: self._renew(key, challenge, reference, principal))
        return Shown(token.header, challenge, is_cached=True)

    async def _renew(self, key: bytes, challenge: Challenge, reference: Reference, principal: Principal) -> None:
        try:
            await self._fetched(key, challenge, reference, principal)
        except SwellError as error:
            log.info("token not renewed", registry=reference.registry, error=str(error))

    async def _fetched(self, key: bytes, challenge: Challenge, reference: Reference, principal: Principal) -> _Token:
        token = await self._accepted.asking.run(key, lambda: self._ask(challenge, reference, principal))
        self._accepted.tokens[key] = token
        return token

    async def _login(self, reference: Reference, principal: Principal) -> Credentials | None:
        credentials = self._keyring.find(reference, principal)
        return await self._aws.login(reference.registry, credentials) if credentials and self._aws else credentials

    async def _ask(self, challenge: Challenge, reference: Reference, principal: Principal) -> _Token:
        """Fetch a token within half of the answer timeout; the other half is for the request that needs it."""
        query = {"scope": self._scope(reference)}
        if service := challenge.parameters.get("service"):
            query["service"] = service
        url = URL(challenge.parameters["realm"]).extend_query(query)
        credentials = await self._login(reference, principal)
        show, reach = partial(self._show, url, credentials), reach_of(self._session)
        limit = reach.answer_timeout.total_seconds() / 2
        left = at_most(2 * limit) / 2
        with translated(url):
            try:
                async with asyncio.timeout(left):
                    response = await self._retries.ask(url, show, reference.name, fair_seconds=limit / 2)
            except TimeoutError:
                if left >= limit / 2:  # otherwise the caller's deadline was too short
                    self._retries.gave_up(url, reference.name)
                raise
            async with response, asyncio.timeout(at_most(reach.idle_timeout.total_seconds())):
                if response.status != 200:
                    raise failure(response.status, response.headers, f"a token for '{reference.name}'", UpstreamFailed)
                return _token(await read(response, TOKEN_BYTES), reference)

    async def _show(self, url: URL, credentials: Credentials | None) -> aiohttp.ClientResponse:
        """Request a token from *url*. An identity token is sent in the body, and redirects are not followed with it.

        Services without POST get the identity token as a password, as containerd does.
        Source: distribution, "Docker Registry v2 authentication using OAuth2",
        https://distribution.github.io/distribution/spec/auth/oauth/
        """
        if credentials and credentials.identity_token:
            parameters = {
                "grant_type": "refresh_token",
                "client_id": "swell",
                "refresh_token": credentials.identity_token,
            }
            form = urlencode(dict(url.query) | parameters).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = await send(self._session, "POST", url.with_query(None), headers, form)
            if response.status not in {404, 405}:
                return response
            response.release()
            credentials = Credentials(credentials.user, credentials.password or credentials.identity_token)
        headers = {"Authorization": credentials.basic} if credentials else {}
        return await follow(self._session, "GET", url, headers)

    def _key(self, challenge: Challenge, reference: Reference, principal: Principal) -> bytes:
        who = self._keyring.find(reference, principal)
        parts = principal, challenge.parameters["realm"], challenge.parameters.get("service"), self._scope(reference)
        return self._accepted.fingerprints.of(*parts, *((who.basic, who.identity_token) if who else (None, None)))

    def _scope(self, reference: Reference) -> str:
        return f"repository:{reference.repository}:{self._actions}"


def check_realm(challenge: Challenge, endpoint: URL) -> None:
    """Check that the realm has at least the transport security of the registry, because it receives the credentials."""
    realm = reachable(challenge.parameters["realm"])
    if realm is None or realm.user or realm.scheme not in {"https", endpoint.scheme}:
        raise UpstreamFailed(f"{endpoint.authority} names a token service without https or with a user name")


def _token(content: bytes, reference: Reference) -> _Token:
    try:
        answer = msgspec.json.decode(content, type=_TokenAnswer)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UpstreamFailed(f"the token service of {reference.registry} sends an invalid answer") from error
    token = answer.token or answer.access_token or ""
    if not _TOKEN.fullmatch(token):
        raise UpstreamFailed(f"the token service of {reference.registry} gives no token")
    now, lives = time.monotonic(), min(_seconds(answer.expires_in), LONGEST_SECONDS) - SKEW_SECONDS
    return _Token(f"Bearer {token}", now + lives * YOUNG, now + lives)


def _seconds(expires_in: object) -> float:
    """Return the life of a token; some services send the number as text, or an invalid value."""
    try:
        seconds = float(str(expires_in))
    except ValueError:
        return DEFAULT_SECONDS
    return seconds if seconds > 0 else DEFAULT_SECONDS


def _place(challenge: Challenge) -> tuple[str, str | None, str | None]:
    return challenge.scheme, challenge.parameters.get("realm"), challenge.parameters.get("service")


def _expiry(_: bytes, token: _Token, _now: float) -> float:
    return token.until
