"""The sender of a request: its client address and its identity."""

from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from litestar.types import Scope

from gateway.access.accounts.accounts import Accounts
from gateway.access.authenticator import Authenticator
from gateway.access.guess_limiter import GuessLimiter
from gateway.access.images.image_access import Policies
from gateway.access.keys import Actor
from gateway.audit.refusals import Refusals
from gateway.domain.access.identity import Caller, Identity, caller_of
from gateway.domain.access.identity import Scope as Right
from gateway.domain.access.session import Session
from gateway.domain.platform import Login
from gateway.http.middleware.origin import CrossSite, is_own_page
from gateway.http.sessions import SAFE_METHODS, Sessions, check_csrf
from swell.errors import AccountRequired, Unauthorized
from swell.net.addresses import Address, client_network, parse_address
from swell.settings import SettingsInvalid

Network = IPv4Network | IPv6Network
Fields = Iterable[tuple[bytes, bytes]]


class ClientAddress:
    """Reads a client's address: from the socket or, behind a proxy in one of the networks *trusted*, from *header*.

    Each proxy appends the address of its client to *header*. It is read from the right up to the first address that
    is not a trusted proxy: the entries to the left of it may be forged by the client.
    """

    def __init__(self, trusted: tuple[Network, ...] = (), header: str = "X-Forwarded-For") -> None:
        self._trusted = trusted
        self._header = header.lower().encode()

    def __call__(self, scope: Scope) -> str:
        """The address as text; for IPv6 the /64 network, because one client may own all of it."""
        client = scope.get("client")
        socket = client[0] if client else ""
        if not self._trusted or not self._is_trusted(parse_address(socket)):
            return client_network(socket)
        return client_network(self._forwarded(scope["headers"], socket))

    def of_connection(self, host: str) -> str | None:
        """The client of a connection from *host*; None for a trusted proxy, which has connections of many clients."""
        return None if self._is_trusted(parse_address(host)) else client_network(host)

    def _forwarded(self, headers: Fields, nearest: str) -> str:
        lines = [value.decode("latin-1") for name, value in headers if name == self._header]
        for entry in reversed(",".join(lines).split(",")):
            if (address := parse_address(entry.strip())) is None:
                break
            nearest = entry.strip()
            if not self._is_trusted(address):
                break
        return nearest

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


class Callers:
    """Identifies the sender of a request. Unknown keys and accounts count as guesses of the client's address."""

    def __init__(
        self,
        authenticator: Authenticator,
        address: ClientAddress,
        guess_limiter: GuessLimiter | None = None,
        policies: Policies | None = None,
        sessions: Sessions | None = None,
        refusals: Refusals | None = None,
        equip: Callable[[Identity], Awaitable[Identity]] | None = None,
    ) -> None:
        """Without *sessions*, cookies are ignored. *equip* adds the stored credentials of an identity."""
        self._policies = policies
        self._equip = equip
        self._refusals = refusals or Refusals()
        self._authenticator = authenticator
        self._sessions = sessions
        self.address = address
        self.guess_limiter = guess_limiter or GuessLimiter()

    async def identify(
        self, scope: Scope, token: str | None = None, endpoint: str | None = None, login: Login | None = None
    ) -> Caller:
        """The sender of the request *scope*, whose body has *token* and *endpoint*, or more of a *login*.

        A token takes precedence over the cookie of a browser that has signed in.

        Raises:
            CrossSite: the sender is known by the cookie only, and the request changes something without a CSRF token.
            Unauthorized, EndpointUnpaired: the token is unknown, or one is required.
            PlatformNotFound, SessionExpired, PlatformFailed, Unavailable: see `Authenticator.authenticate`.
            TooManyRequests: too many unknown tokens were tried from the client's address.
        """
        address, header_token = self.address(scope), bearer(scope["headers"])
        if login:
            token, endpoint = login.token, login.endpoint
        secret = token or header_token
        if secret is None:
            if session := await self._signed_in(scope, address):
                return await self._caller(session.identity, address)
            return caller_of(await self._authenticator.authenticate(token, endpoint), address)
        with self.guess_limiter.attempt(address, secret):
            try:
                identity = await self._authenticator.authenticate(token, endpoint, bearer=header_token, login=login)
            except Unauthorized:
                self._refusals.record("token")
                raise
        if identity.is_anonymous:  # an unknown bearer token is ignored, but counts as a guess
            self.guess_limiter.count_miss(address, secret)
        return await self._caller(identity, address)

    async def _caller(self, identity: Identity, address: str) -> Caller:
        """*identity* with the credentials that policies give it, and those that are stored for it."""
        if self._policies and not identity.is_anonymous:
            identity = self._policies.current().with_credentials(identity)
        return caller_of(await self._equip(identity) if self._equip else identity, address)

    async def _signed_in(self, scope: Scope, address: str) -> Session | None:
        """The session of the browser that sends the request *scope*; an unknown one counts as a guess.

        Raises:
            Unauthorized: it has ended, and the request changes something: it must not become an anonymous one.
        """
        if self._sessions is None or (secret := self._sessions.secret_of(scope)) is None:
            return None
        if not self.guess_limiter.is_known(secret):
            self.guess_limiter.check(address)
        if (session := await self._sessions.get(secret)) is None:
            self.guess_limiter.count_miss(address, secret)
            if scope.get("method") not in SAFE_METHODS:
                raise Unauthorized("the session of this browser has ended: sign in again, or sign out to go on without")
            return None
        self.guess_limiter.remember(secret)
        check_csrf(scope, secret)
        return session

    async def require_operator(self, scope: Scope, accounts: Accounts) -> str:
        """The name of the operator who sends the request *scope*: with an account, or a token that may administer.

        Raises:
            AccountRequired: the credentials are missing or wrong.
            ScopeRequired: the token is that of a user who may not administer.
            CrossSite: a page of another site sent it, with a password that the browser has stored.
            TooManyRequests: too many wrong ones were tried from the client's address.
        """
        authorization = authorization_of(scope["headers"])
        if authorization is None and not (self._sessions and self._sessions.secret_of(scope)):
            return await accounts.require(None)
        if authorization is None or bearer(scope["headers"]):
            identity = (await self.identify(scope)).identity
            if identity.is_anonymous:
                raise AccountRequired
            identity.require(Right.ADMINISTER)
            return identity.user
        actor = await self.account(scope, accounts)
        if actor.identity:
            actor.identity.require(Right.ADMINISTER)
        return actor.name

    async def account(self, scope: Scope, accounts: Accounts) -> Actor:
        """The account in the header `Authorization: Basic` of the request *scope*.

        Raises:
            AccountRequired, CrossSite, TooManyRequests: as `require_operator`.
            Unavailable: the store of accounts does not answer.
        """
        authorization = authorization_of(scope["headers"])
        if scope.get("method") not in {"GET", "HEAD"} and is_own_page(scope["headers"]) is False:
            raise CrossSite
        return await self.check_account(scope, accounts, authorization)

    async def check_account(self, scope: Scope, accounts: Accounts, authorization: str | None) -> Actor:
        """The account in *authorization*, which the sender of the request *scope* has sent in any form.

        Raises:
            AccountRequired, TooManyRequests, Unavailable: as `account`.
        """
        with self.guess_limiter.attempt(self.address(scope), f"account {authorization}"):
            try:
                return await accounts.authenticate(authorization, self.address(scope))
            except AccountRequired:
                self._refusals.record("account")
                raise

    async def actor(self, scope: Scope, accounts: Accounts) -> Actor:
        """The operator or the user who sends the request *scope*, to manage keys and the like.

        Raises:
            AccountRequired, TooManyRequests: as `require_operator`.
            Unauthorized: the request is anonymous.
        """
        if bearer(scope["headers"]) is None and authorization_of(scope["headers"]):
            return await self.account(scope, accounts)
        identity = (await self.identify(scope)).identity
        if identity.is_anonymous:
            raise Unauthorized
        return Actor(identity.user, identity)


def bearer(headers: Fields) -> str | None:
    """The token of the `Authorization: Bearer` header, if there is one."""
    for name, value in headers:
        scheme, _, token = value.decode("latin-1").strip().partition(" ")
        if name == b"authorization" and scheme.lower() == "bearer":
            return token.strip() or None
    return None


def authorization_of(headers: Fields) -> str | None:
    """The first `Authorization` header."""
    return next((value.decode("latin-1") for name, value in headers if name == b"authorization"), None)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Parse networks such as `10.0.0.0/8` and `2001:db8::/32`, or single addresses.

    Raises:
        SettingsInvalid: one of *texts* has another form.
    """
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as error:
        raise SettingsInvalid(f"SWELL_TRUSTED_PROXIES: {error}") from error
