"""An OpenID Connect issuer for tests, over HTTP on loopback: discovery, keys, authorization code flow with PKCE.

It is a program of its own: it shares no code with the client that is tested, but the JOSE library.

Sources: OpenID Connect Core 1.0, https://openid.net/specs/openid-connect-core-1_0.html; RFC 7636, "Proof Key for Code
Exchange", https://www.rfc-editor.org/rfc/rfc7636
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from yarl import URL

CLIENT, CLIENT_SECRET = "swell", "the-secret-of-the-client"
CODE_SECONDS = 60


class OidcIssuer:
    """Issues tokens for `claims`, which a test may change. `requests` counts by path.

    `status` is the answer to requests for documents, such as 503 for an outage. `published` are the keys in the JWKS.
    Codes in `used` were exchanged. Members of `id_token_changes` replace claims of ID tokens, to test their checks.
    """

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.requests: Counter[str] = Counter()
        self.claims: dict[str, Any] = {"sub": "ada", "email": "ada@example.org", "email_verified": True}
        self.id_token_changes: dict[str, Any] = {}
        self.key: RSAKey | ECKey = new_key("first")
        self.published: list[RSAKey | ECKey] = [self.key]
        self.used: set[str] = set()
        self._codes: dict[str, dict[str, str]] = {}

    def rotate(self, key_id: str, *, keep: bool = True) -> RSAKey | ECKey:
        """Sign with a new key; publish it, with the former ones if *keep*. Returns the former key."""
        former, self.key = self.key, new_key(key_id)
        self.published = [*(self.published if keep else []), self.key]
        return former

    def token(
        self, audience: str | list[str], *, key: Any = None, header: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """A token for *audience* that is valid for five minutes. Claims that are None are left out."""
        now, signing = int(time.time()), key or self.key
        known = {"iss": self.url, "aud": audience, "iat": now, "exp": now + 300, **self.claims, **claims}
        names = {"kid": signing.kid} if signing.kid else {}
        signed = {"alg": "RS256" if isinstance(signing, RSAKey) else "ES256", **names, **(header or {})}
        kept = {name: value for name, value in known.items() if value is not None}
        return jwt.encode(signed, kept, signing, algorithms=[signed["alg"]])

    def unsigned(self, audience: str, **claims: Any) -> str:
        """A token with `alg: none`."""
        _, body, _ = self.token(audience, **claims).split(".")
        return f"{encoded({'alg': 'none', 'kid': self.key.kid})}.{body}.{'A' * 8}"

    def signed_with_public_key(self, audience: str, **claims: Any) -> str:
        """A token with `alg: HS256`, whose secret is the public key in PEM."""
        _, body, _ = self.token(audience, **claims).split(".")
        head = encoded({"alg": "HS256", "typ": "JWT", "kid": self.key.kid})
        secret = self.key.as_pem(private=False)
        digest = hmac.digest(secret, f"{head}.{body}".encode(), "sha256")
        return f"{head}.{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    async def discovery(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def keys(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.published]})

    async def authorize(self, request: web.Request) -> web.Response:
        """Sign the user in at once, and redirect with a code; the client must use PKCE with S256."""
        query = dict(request.query)
        if query.get("client_id") != CLIENT or query.get("code_challenge_method") != "S256":
            return web.Response(status=400, text="the client, or its code challenge, is wrong")
        code = secrets.token_urlsafe(16)
        self._codes[code] = query | {"until": str(time.time() + CODE_SECONDS)}
        location = URL(query["redirect_uri"]).update_query(code=code, state=query["state"], iss=self.url)
        return web.Response(status=302, headers={"Location": str(location)})

    async def exchange(self, request: web.Request) -> web.Response:
        form = await request.post()
        expected = "Basic " + base64.b64encode(f"{CLIENT}:{CLIENT_SECRET}".encode()).decode()
        if not hmac.compare_digest(request.headers.get("Authorization", ""), expected):
            return web.json_response({"error": "invalid_client"}, status=401)
        code = str(form.get("code", ""))
        asked, challenge = self._codes.get(code), challenge_of(str(form.get("code_verifier", "")))
        is_valid = asked and code not in self.used and asked["redirect_uri"] == form.get("redirect_uri")
        if not (asked and is_valid and float(asked["until"]) > time.time() and asked["code_challenge"] == challenge):
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.used.add(code)
        claims = {"nonce": asked.get("nonce")} | self.id_token_changes
        answer = {"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "expires_in": 300}
        return web.json_response(answer | {"id_token": self.token(CLIENT, **claims)})


def new_key(key_id: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": key_id, "use": "sig"})


def challenge_of(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def encoded(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@asynccontextmanager
async def serving_issuer() -> AsyncIterator[OidcIssuer]:
    """Serve an issuer on a free port of loopback while the block runs."""
    issuer = OidcIssuer()

    @web.middleware
    async def count(request: web.Request, handler: Any) -> web.StreamResponse:
        issuer.requests[request.path] += 1
        if issuer.status != 200:
            return web.Response(status=issuer.status)
        response: web.StreamResponse = await handler(request)
        return response

    app = web.Application(middlewares=[count])
    app.router.add_get("/.well-known/openid-configuration", issuer.discovery)
    app.router.add_get("/keys", issuer.keys)
    app.router.add_get("/authorize", issuer.authorize)
    app.router.add_post("/token", issuer.exchange)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield issuer
    finally:
        await runner.cleanup()
