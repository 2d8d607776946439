"""How we show upstream registries who we are: nobody, HTTP Basic, or a token from the realm that they name.

Source: distribution-spec's token authentication; the realm gives a token for one scope: actions in one repository.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable

import aiohttp
import msgspec
from cachetools import LRUCache, TLRUCache
from msgspec import Struct
from yarl import URL

from swell.errors import UpstreamFailed
from swell.flights import Flights
from swell.oci.reference import Reference
from swell.outbound import follow, read
from swell.registry.answers import failure
from swell.registry.challenge import Challenge, choose, parse_challenges
from swell.registry.credentials import Credentials, Keyring

KEPT = 10_000
TOKEN_BYTES = 1 << 20
DEFAULT_SECONDS = 60
SKEW_SECONDS = 10
_TOKEN = re.compile(r"[!-~]+")


class _TokenAnswer(Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None


class _Token(Struct, frozen=True):
    header: str
    seconds: float


class Authorizer:
    """Gives the `Authorization` header for a reference: what worked before, or the answer to a challenge.

    Tokens are kept by realm, service, scope and a keyed hash of the whole credentials, as long as the realm says.
    """

    def __init__(self, session: aiohttp.ClientSession, keyring: Keyring, actions: str = "pull") -> None:
        self._session = session
        self._actions = actions
        self._keyring = keyring
        self._secret = secrets.token_bytes(32)
        self._challenges: LRUCache[str, Challenge] = LRUCache(KEPT)
        self._tokens: TLRUCache[bytes, _Token] = TLRUCache(KEPT, _expiry, time.monotonic)
        self._asking: Flights[bytes, _Token] = Flights()

    async def known(self, reference: Reference) -> str | None:
        """What to send at once, from what this registry wanted to see before; None for nothing."""
        challenge = self._challenges.get(reference.registry)
        return await self._answer(challenge, reference) if challenge else None

    async def renewed(
        self, reference: Reference, told: Iterable[str], refused: str | None, endpoint: URL
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
            self._drop(self._key(challenge, reference), refused)
        self._challenges[reference.registry] = challenge
        answer = await self._answer(challenge, reference)
        return None if answer == refused else answer

    async def _answer(self, challenge: Challenge, reference: Reference) -> str | None:
        credentials = self._keyring.find(reference)
        if challenge.scheme == "basic":
            return credentials.basic if credentials else None
        key = self._key(challenge, reference)
        token = self._tokens.get(key)
        if token is None:
            token = await self._asking.join(key, lambda: self._ask(challenge, reference, credentials))
            self._tokens[key] = token
        return token.header

    async def _ask(self, challenge: Challenge, reference: Reference, credentials: Credentials | None) -> _Token:
        query = {"scope": self._scope(reference)}
        if service := challenge.parameters.get("service"):
            query["service"] = service
        url = URL(challenge.parameters["realm"]).extend_query(query)
        headers = {"Authorization": credentials.basic} if credentials else {}
        async with await follow(self._session, "GET", url, headers) as response:
            if response.status != 200:
                raise failure(response.status, response.headers, f"a token for '{reference.name}'", UpstreamFailed)
            return _token(await read(response, TOKEN_BYTES), reference)

    def _drop(self, key: bytes, refused: str | None) -> None:
        """Forget the token if it is the one that was *refused*; another task may have fetched a new one already."""
        token = self._tokens.get(key)
        if token and token.header == refused:
            self._tokens.pop(key, None)

    def _key(self, challenge: Challenge, reference: Reference) -> bytes:
        service = challenge.parameters.get("service")
        who = self._keyring.find(reference)
        parts = [challenge.parameters["realm"], service, self._scope(reference), who.basic if who else None]
        return hmac.digest(self._secret, msgspec.json.encode(parts), hashlib.sha256)

    def _scope(self, reference: Reference) -> str:
        return f"repository:{reference.repository}:{self._actions}"


def check_realm(challenge: Challenge, endpoint: URL) -> None:
    """Credentials go to the realm that the registry names, but never less protected than to the registry itself."""
    try:
        realm = URL(challenge.parameters["realm"])
    except ValueError:
        realm = URL()
    if not realm.host or realm.user or realm.scheme not in {"https", endpoint.scheme}:
        raise UpstreamFailed(f"{endpoint.authority} asks for a token from a place that we do not trust")


def _token(content: bytes, reference: Reference) -> _Token:
    try:
        answer = msgspec.json.decode(content, type=_TokenAnswer)
    except msgspec.MsgspecError as error:
        raise UpstreamFailed(f"the token service of {reference.registry} makes no sense") from error
    token = answer.token or answer.access_token or ""
    if not _TOKEN.fullmatch(token):
        raise UpstreamFailed(f"the token service of {reference.registry} gives no token")
    return _Token(f"Bearer {token}", (answer.expires_in or DEFAULT_SECONDS) - SKEW_SECONDS)


def _expiry(_: bytes, token: _Token, now: float) -> float:
    return now + token.seconds
