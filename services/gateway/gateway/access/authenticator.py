"""Finding out who asks."""

from typing import Protocol

from gateway.domain.identity import ANONYMOUS, Identity
from swell.errors import EndpointUnpaired, Unauthorized


class Identities(Protocol):
    async def of(self, token: str | None, endpoint: str | None) -> Identity:
        """Who has *token*, given out by the Seqera Platform at *endpoint* or by us; no token is nobody's.

        Raises:
            Unauthorized: nobody has it.
        """


class Authenticator:
    """Decides who may ask for containers."""

    def __init__(self, identities: Identities, *, anonymous_access: bool) -> None:
        self._identities = identities
        self._anonymous_access = anonymous_access

    async def admit(self, token: str | None, endpoint: str | None = None, *, bearer: str | None = None) -> Identity:
        """Who asks: *token* stood in the body, *bearer* in a header, which counts when the body has none.

        A *bearer* that we do not know may be meant for a proxy in front of us, so it is passed over.

        Raises:
            Unauthorized: nobody has *token*, or only those whom we know may ask.
            EndpointUnpaired: somebody at *endpoint* may have *token*, but that Platform is not paired with us.
        """
        identity = await self._holder(token, endpoint) if token else await self._known(bearer)
        if identity.is_anonymous and not self._anonymous_access:
            raise Unauthorized("this server takes no anonymous requests: an access token is needed")
        return identity

    async def _holder(self, token: str, endpoint: str | None) -> Identity:
        """Who has *token*; clients name an *endpoint* with every token, also with one of ours."""
        try:
            return await self._identities.of(token, endpoint)
        except Unauthorized as error:
            if not endpoint:
                raise
            raise EndpointUnpaired(
                f"Platform endpoint {endpoint[:200]} is not paired with this server, and the access token is none of "
                "this server's own"
            ) from error

    async def _known(self, bearer: str | None) -> Identity:
        try:
            return await self._identities.of(bearer, None)
        except Unauthorized:
            return ANONYMOUS
