"""Who stands at the other end: the address that a request comes from, and the identity that it brings."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from litestar.types import Scope

from gateway.access.accounts import Accounts
from gateway.access.authenticator import Authenticator
from gateway.access.guess_limiter import GuessLimiter
from gateway.domain.identity import Caller, caller_of
from swell.net.addresses import Address, client_network, parse_address
from swell.settings import SettingsInvalid

Network = IPv4Network | IPv6Network
Fields = Iterable[tuple[bytes, bytes]]


class ClientAddress:
    """Finds a client's address: the socket's, unless a proxy of *trusted* is there; then *header* tells.

    Each proxy appends to *header* whom it heard from, so it is read from the right, up to the first who is none of
    ours; what stands further left is that one's own word.
    """

    def __init__(self, trusted: tuple[Network, ...] = (), header: str = "X-Forwarded-For") -> None:
        self._trusted = trusted
        self._header = header.lower().encode()

    def __call__(self, scope: Scope) -> str:
        """The address as text; of IPv6 the /64 network, for a client may have all of it."""
        client = scope.get("client")
        socket = client[0] if client else ""
        if not self._trusted or not self._is_trusted(parse_address(socket)):
            return client_network(socket)
        return client_network(self._forwarded(scope["headers"], socket))

    def of_connection(self, host: str) -> str | None:
        """The client whose connection comes from *host*; None for a trusted proxy, which has those of many."""
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
    """Finds out who sent a request. Keys and accounts that are unknown count as guesses of the client's address."""

    def __init__(self, admission: Authenticator, address: ClientAddress, guesses: GuessLimiter | None = None) -> None:
        self._admission = admission
        self.address = address
        self.guesses = guesses or GuessLimiter()

    async def of(self, scope: Scope, token: str | None = None, endpoint: str | None = None) -> Caller:
        """Who sent the request of *scope*, whose body brought *token* and *endpoint*.

        Raises:
            Unauthorized, EndpointUnpaired: nobody whom we know has the token, or one is needed.
            TooManyRequests: too many unknown ones were tried from the client's address.
        """
        address, found = self.address(scope), bearer(scope["headers"])
        secret = token or found
        if secret is None:
            return caller_of(await self._admission.admit(token, endpoint), address)
        with self.guesses.attempt(address, secret):
            identity = await self._admission.admit(token, endpoint, bearer=found)
        if identity.is_anonymous:  # an unknown bearer is passed over, and still is a guess
            self.guesses.missed(address, secret)
        return caller_of(identity, address)

    async def admit_operator(self, scope: Scope, accounts: Accounts) -> None:
        """Let the request of *scope* pass if it brings one of *accounts*.

        Raises:
            AccountRequired: it brings none.
            TooManyRequests: too many wrong ones were tried from the client's address.
        """
        authorization = authorization_of(scope["headers"])
        if authorization is None:
            await accounts.admit(None)
            return
        with self.guesses.attempt(self.address(scope), f"account {authorization}"):
            await accounts.admit(authorization)


def bearer(headers: Fields) -> str | None:
    """The token of an `Authorization: Bearer` header, if there is one."""
    for name, value in headers:
        scheme, _, token = value.decode("latin-1").strip().partition(" ")
        if name == b"authorization" and scheme.lower() == "bearer":
            return token.strip() or None
    return None


def authorization_of(headers: Fields) -> str | None:
    """The first `Authorization` header."""
    return next((value.decode("latin-1") for name, value in headers if name == b"authorization"), None)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read `10.0.0.0/8`, `2001:db8::/32`, or an address alone.

    Raises:
        SettingsInvalid: one of them is something else.
    """
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as error:
        raise SettingsInvalid(f"SWELL_TRUSTED_PROXIES: {error}") from error
