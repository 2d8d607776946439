"""Signing in with a browser: the authorization code flow with PKCE, state and nonce.

Nothing is stored for a sign-in that has begun, so that strangers cannot fill the store: state, nonce and code verifier
follow from a random secret in a cookie, which also binds the sign-in to its browser.

Sources: OpenID Connect Core 1.0, https://openid.net/specs/openid-connect-core-1_0.html; RFC 9700, "Best Current
Practice for OAuth 2.0 Security", https://www.rfc-editor.org/rfc/rfc9700
"""

import asyncio
import base64
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import msgspec
from msgspec import Struct
from yarl import URL

from gateway.adapters.oidc.provider import Endpoints, Provider
from gateway.adapters.oidc.verify import is_jwt, unverified, verified_claims
from gateway.domain.access.identity import Identity
from gateway.domain.access.issuers import identity_of
from swell.errors import NotSupported, SignInFailed, SwellError, TokenInvalid, Unavailable
from swell.log import log
from swell.net.outbound import read, send

SIGN_IN_SECONDS = 600
"""From the first redirect to the callback."""
USED_SECONDS = 86_400
"""For so long a state is known as used."""
MAX_NEXT = 1000  # characters
EXCHANGE_SECONDS = 10.0
ANSWER_BYTES = 64 << 10
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_NEXT = re.compile(r"/(?![/\\])[!-~]*")


class UsedStates(Protocol):
    async def take(self, state: str, seconds: int) -> bool:
        """Return whether *state* is used for the first time within *seconds*."""


class Started(Struct, frozen=True):
    """A sign-in that has begun: the browser goes to `url`, and keeps `cookie` for ten minutes."""

    url: str
    cookie: str


class _TokenAnswer(Struct, frozen=True):
    id_token: str = ""
    access_token: str = ""


class SignIn:
    """Signs users in at *provider*, the one with a client id, if there is one."""

    def __init__(
        self,
        provider: Provider | None,
        used: UsedStates,
        server_url: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._provider = provider
        self._used = used
        self._redirect_uri = f"{server_url}/auth/callback"
        self._clock = clock

    @property
    def is_possible(self) -> bool:
        return self._provider is not None

    async def start(self, following: str = "/") -> Started:
        """Begin a sign-in, after which the browser goes to the path *following* of this server.

        Raises:
            NotSupported: no issuer has a client id.
            Unavailable: the issuer does not answer.
        """
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # noqa: PLC0415 (memory that few need)
        from authlib.oauth2.rfc7636 import create_s256_code_challenge  # noqa: PLC0415

        provider, endpoints = await self._open()
        secret = secrets.token_urlsafe(32)
        url = prepare_grant_uri(
            endpoints.authorization_endpoint,
            provider.issuer.client_id,
            "code",
            self._redirect_uri,
            provider.issuer.client_scopes,
            _derived(secret, "state"),
            nonce=_derived(secret, "nonce"),
            code_challenge=create_s256_code_challenge(_derived(secret, "verifier")),
            code_challenge_method="S256",
        )
        return Started(str(url), f"{secret}.{int(self._clock())}.{_encoded(own_path(following))}")

    async def finish(self, cookie: str, query: Mapping[str, str]) -> tuple[Identity, str]:
        """Return the identity of the user who comes back with *query* and *cookie*, and the path to go to.

        Raises:
            SignInFailed: it is too late, another browser began it, it was used already, or the issuer refuses.
            Unavailable: the issuer or the store does not answer.
        """
        provider, endpoints = await self._open()
        secret, following = self._begun(cookie)
        state = _derived(secret, "state")
        if not hmac.compare_digest(query.get("state", "").encode(), state.encode()):
            raise SignInFailed("this sign-in was not begun in this browser")
        must_name_issuer = "iss" in query or endpoints.authorization_response_iss_parameter_supported
        if must_name_issuer and query.get("iss") != provider.issuer.url:
            raise SignInFailed("the answer is not from the issuer where the sign-in was begun")
        if not await self._used.take(state, USED_SECONDS):
            raise SignInFailed("this sign-in was completed already")
        if "error" in query or not query.get("code"):
            raise SignInFailed(f"the issuer answers: {_printable(query.get('error', 'no code'))}")
        answer = await self._exchange(provider, endpoints, query["code"], _derived(secret, "verifier"))
        try:
            return await self._identity(provider, answer, _derived(secret, "nonce")), following
        except TokenInvalid as error:
            raise SignInFailed(str(error)) from error

    async def _open(self) -> tuple[Provider, Endpoints]:
        if self._provider is None:
            raise NotSupported("users cannot sign in here: no issuer of this server has a client_id")
        endpoints = await self._provider.endpoints()
        if not (endpoints.authorization_endpoint and endpoints.token_endpoint):
            raise Unavailable(f"{self._provider.issuer.url} offers no authorization code flow", retry_after=None)
        return self._provider, endpoints

    def _begun(self, cookie: str) -> tuple[str, str]:
        """The secret and the path in *cookie*."""
        secret, _, rest = cookie.partition(".")
        started, _, following = rest.partition(".")
        if not (_SECRET.fullmatch(secret) and started.isascii() and started.isdigit() and len(started) < 12):
            raise SignInFailed("this sign-in was not begun in this browser, or it took longer than ten minutes")
        if abs(self._clock() - int(started)) > SIGN_IN_SECONDS:
            raise SignInFailed("the sign-in took longer than ten minutes")
        return secret, own_path(_decoded(following))

    async def _exchange(self, provider: Provider, endpoints: Endpoints, code: str, verifier: str) -> _TokenAnswer:
        """Exchange *code* for tokens, within 10 s. Redirects are not followed: they would get the code."""
        from authlib.oauth2.rfc6749.parameters import prepare_token_request  # noqa: PLC0415

        issuer = provider.issuer
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        secret, body = _client_secret(issuer.client_secret_file), {"code": code, "code_verifier": verifier}
        if not secret:
            body["client_id"] = issuer.client_id
        elif "client_secret_basic" in endpoints.token_endpoint_auth_methods_supported:
            pair = f"{quote(issuer.client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            body |= {"client_id": issuer.client_id, "client_secret": secret}
        form = prepare_token_request("authorization_code", "", self._redirect_uri, **body)
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS):
                url = URL(endpoints.token_endpoint)
                async with await send(provider.session, "POST", url, headers, form.encode()) as response:
                    content = await read(response, ANSWER_BYTES)
        except (SwellError, TimeoutError) as error:
            raise Unavailable(f"{issuer.url} does not answer: {str(error) or 'it takes too long'}") from error
        if response.status != 200:
            log.info("sign-in refused by the issuer", issuer=issuer.url, status=response.status)
            raise SignInFailed("the issuer does not accept the code: it was used already, or is too old")
        try:
            return msgspec.json.decode(content, type=_TokenAnswer)
        except (ValueError, RecursionError) as error:
            raise SignInFailed("the issuer answers in another form") from error

    async def _identity(self, provider: Provider, answer: _TokenAnswer, nonce: str) -> Identity:
        """Return the identity in the ID token of *answer*, after its signature and all claims were checked.

        Raises:
            TokenInvalid: the token, or one of its claims, is not valid.
        """
        from authlib.oidc.core import CodeIDToken  # noqa: PLC0415
        from joserfc.errors import JoseError  # noqa: PLC0415

        issuer, token = provider.issuer, answer.id_token
        said = unverified(token) if is_jwt(token) else None
        key = await provider.key(said[0].kid) if said else None
        if said is None or key is None:
            raise TokenInvalid("the issuer sends no ID token, or one with an unknown key")
        now = self._clock()
        claims = verified_claims(token, said[0], key, issuer, [issuer.client_id], now)
        params = {"nonce": nonce, "client_id": issuer.client_id, "access_token": answer.access_token}
        try:
            CodeIDToken(dict(claims), {"alg": said[0].alg}, params=params).validate(now, issuer.leeway)
        except (JoseError, ValueError, TypeError) as error:
            raise TokenInvalid("the ID token is not of this sign-in") from error
        return identity_of(issuer, claims)


def own_path(following: str) -> str:
    """Return *following* if it is a path of this server, else `/`: a link must not lead to another site."""
    return following if len(following) <= MAX_NEXT and _NEXT.fullmatch(following) else "/"


def _derived(secret: str, purpose: str) -> str:
    """A value of 256 bits for one purpose, which does not reveal *secret*."""
    digest = hmac.digest(secret.encode(), purpose.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _client_secret(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        log.error("client secret not read", path=path, error=str(error))
        raise Unavailable("the secret of this server's client cannot be read", retry_after=None) from error


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _decoded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""


def _printable(text: str) -> str:
    return "".join(char for char in text[:100] if char.isascii() and char.isprintable())
