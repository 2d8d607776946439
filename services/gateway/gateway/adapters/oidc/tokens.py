"""Identities of JSON Web Tokens that configured issuers have signed."""

import hashlib
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from cachetools import LRUCache
from msgspec.structs import replace

from gateway.adapters.oidc.provider import Provider
from gateway.adapters.oidc.verify import Body, Header, is_jwt, unverified, verified_claims
from gateway.domain.access.identity import Identity
from gateway.domain.access.issuers import expiry_of, identity_of, text_of
from swell.errors import TokenInvalid

MAX_CACHED = 10_000


class _Verified(NamedTuple):
    identity: Identity
    expires: float
    provider: Provider
    key_id: str


class OidcTokens:
    """See `IdentitySource` of the authenticator; a valid token is verified once, and cached until it expires."""

    def __init__(self, providers: Iterable[Provider], server_url: str, clock: Callable[[], float] = time.time) -> None:
        """*server_url* is the audience of issuers without one."""
        self._providers = {provider.issuer.url: provider for provider in providers}
        self._server_url = server_url
        self._clock = clock
        self._verified: LRUCache[bytes, _Verified] = LRUCache(MAX_CACHED)

    async def identify(self, token: str, endpoint: str | None) -> Identity | None:  # noqa: ARG002
        """The identity of *token*; None if it is not a token of these issuers.

        Raises:
            TokenInvalid: it says that it is one of these, or for this server, but it is not valid.
            Unavailable: the keys of its issuer cannot be fetched.
        """
        if not self._providers or not is_jwt(token):
            return None
        fingerprint = hashlib.sha256(token.encode()).digest()
        cached = self._verified.get(fingerprint)
        if cached and cached.expires > self._clock() and cached.provider.has(cached.key_id):
            return cached.identity
        if (said := unverified(token)) is None:
            return None
        verified = await self._verify(token, *said)
        if verified:
            self._verified[fingerprint] = verified
        return verified.identity if verified else None

    async def _verify(self, token: str, header: Header, body: Body) -> _Verified | None:
        if (provider := self._providers.get(body.iss)) is None:
            if body.is_for([self._server_url]):
                raise TokenInvalid("this server does not accept tokens of the token's issuer")
            return None
        issuer = provider.issuer
        if header.alg not in issuer.algorithms:  # before a key is fetched
            raise TokenInvalid(f"tokens of {issuer.url} may not be signed with {header.alg[:20] or 'nothing'}")
        if (key := await provider.key(header.kid)) is None:
            raise TokenInvalid(f"the token is signed with a key that {issuer.url} does not have")
        audience = issuer.audience or (self._server_url,)
        claims = verified_claims(token, header, key, issuer, audience, self._clock())
        identity = identity_of(issuer, claims)
        token_id = text_of(claims, "jti")[:80] or hashlib.sha256(token.encode()).hexdigest()[:16]
        identity = replace(identity, key_id=f"oidc-{issuer.name}-{token_id}")
        return _Verified(identity, expiry_of(claims).timestamp(), provider, header.kid)
