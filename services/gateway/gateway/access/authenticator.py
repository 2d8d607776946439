"""Authentication: the identity that belongs to an access token."""

from typing import Protocol

from gateway.domain.access.api_key import PREFIX
from gateway.domain.access.identity import ANONYMOUS, Identity
from gateway.domain.platform import Login
from swell.errors import EndpointUnpaired, TokenInvalid, Unauthorized


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


class TokenUnknown(Unauthorized):
    """The access token has the form of no source of this server."""


class PlatformUsers(Protocol):
    """The users of the Seqera Platforms that the operator has named."""

    def accepts(self, login: Login) -> bool:
        """Whether the token of *login* may be one of a named Platform. No I/O."""

    async def identify(self, login: Login) -> Identity:
        """The identity of *login*; raises `Unauthorized` and the errors of Platforms."""


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
        raise TokenUnknown("the access token is not known here")


class Authenticator:
    """Authenticates container requests; without *anonymous_access* each one needs a known token.

    A token that *identities* do not know may belong to a user of the Platform that the request names.
    """

    def __init__(
        self, identities: Identities, *, anonymous_access: bool, platform_users: PlatformUsers | None = None
    ) -> None:
        self._identities = identities
        self._platform_users = platform_users
        self._anonymous_access = anonymous_access

    async def authenticate(
        self, token: str | None, endpoint: str | None = None, *, bearer: str | None = None, login: Login | None = None
    ) -> Identity:
        """The identity of a request whose body has *token*, or whose `Authorization` header has *bearer*.

        *login* has all that the body says about its sender, if it may say more than *token* and *endpoint*.

        The token in the body takes precedence. An unknown *bearer* is ignored: it may be meant for a reverse proxy. One
        that is meant for this server (it has the prefix of issued keys, or is a JWT of a known issuer), but is not
        valid, is refused.

        Raises:
            TokenInvalid: it is a token of a known issuer, but it is not valid or has expired.
            Unauthorized: the token is unknown, or the request is anonymous and anonymous requests are not accepted.
            EndpointUnpaired: the token is unknown, and the Platform at the endpoint is not paired with this server.
            PlatformNotFound, SessionExpired, PlatformFailed, Unavailable: the Platform refuses the login, or fails.
        """
        login = login or Login(token=token, endpoint=endpoint)
        identity = await self._identify(login, token) if token else await self._identify_bearer(bearer)
        if identity.is_anonymous and not self._anonymous_access:
            raise Unauthorized("this server takes no anonymous requests: an access token is needed")
        return identity

    async def _identify(self, login: Login, token: str) -> Identity:
        """The identity of *token*. Clients send an endpoint with each token, also with API keys of this server."""
        endpoint = login.endpoint
        try:
            return await self._identities.identify(token, endpoint)
        except TokenInvalid:
            raise
        except Unauthorized as error:
            if isinstance(error, TokenUnknown) and self._platform_users and self._platform_users.accepts(login):
                return await self._platform_users.identify(login)
            if not endpoint:
                raise
            raise EndpointUnpaired(
                f"Platform endpoint {endpoint[:200]} is not paired with this server, and the access token is not one "
                "of this server's API keys"
            ) from error

    async def _identify_bearer(self, bearer: str | None) -> Identity:
        try:
            return await self._identities.identify(bearer, None)
        except TokenInvalid:
            raise
        except Unauthorized as error:
            if bearer and bearer.startswith(PREFIX):
                raise Unauthorized("the API key is unknown: it was revoked, has expired, or is mistyped") from error
            return ANONYMOUS
