"""Authentication: the identity that belongs to an access token."""

from typing import Protocol

from gateway.domain.identity import ANONYMOUS, Identity
from swell.errors import EndpointUnpaired, Unauthorized


class Identities(Protocol):
    async def identify(self, token: str | None, endpoint: str | None) -> Identity:
        """The identity that *token* belongs to; `ANONYMOUS` without a token.

        *endpoint* is the URL of the Seqera Platform that issued the token, if the client names one.

        Raises:
            Unauthorized: the token is unknown.
        """


class IdentitySource(Protocol):
    """One kind of access tokens: the keys file, issued keys, an OpenID issuer, a Seqera Platform."""

    async def identify(self, token: str, endpoint: str | None) -> Identity | None:
        """The identity that *token* belongs to; None if it has not the form of this source's tokens.

        Raises:
            Unauthorized: the token is one of this source, but unknown, revoked or expired.
        """


class IdentitySources:
    """The identities of several sources: the first one that does not return None decides."""

    def __init__(self, *sources: IdentitySource) -> None:
        self._sources = sources

    async def identify(self, token: str | None, endpoint: str | None) -> Identity:
        """As `Identities.identify`."""
        if not token:
            return ANONYMOUS
        for source in self._sources:
            if identity := await source.identify(token, endpoint):
                return identity
        raise Unauthorized("the access token is not known here")


class Authenticator:
    """Authenticates container requests; without *anonymous_access* each one needs a known token."""

    def __init__(self, identities: Identities, *, anonymous_access: bool) -> None:
        self._identities = identities
        self._anonymous_access = anonymous_access

    async def authenticate(
        self, token: str | None, endpoint: str | None = None, *, bearer: str | None = None
    ) -> Identity:
        """The identity of a request whose body has *token*, or whose `Authorization` header has *bearer*.

        The token in the body takes precedence. An unknown *bearer* is ignored: it may be meant for a reverse proxy.

        Raises:
            Unauthorized: *token* is unknown, or the request is anonymous and anonymous requests are not accepted.
            EndpointUnpaired: *token* is unknown, and the Platform at *endpoint* is not paired with this server.
        """
        identity = await self._identify(token, endpoint) if token else await self._identify_bearer(bearer)
        if identity.is_anonymous and not self._anonymous_access:
            raise Unauthorized("this server takes no anonymous requests: an access token is needed")
        return identity

    async def _identify(self, token: str, endpoint: str | None) -> Identity:
        """The identity of *token*. Clients send an *endpoint* with each token, also with API keys of this server."""
        try:
            return await self._identities.identify(token, endpoint)
        except Unauthorized as error:
            if not endpoint:
                raise
            raise EndpointUnpaired(
                f"Platform endpoint {endpoint[:200]} is not paired with this server, and the access token is not one "
                "of this server's API keys"
            ) from error

    async def _identify_bearer(self, bearer: str | None) -> Identity:
        try:
            return await self._identities.identify(bearer, None)
        except Unauthorized:
            return ANONYMOUS
