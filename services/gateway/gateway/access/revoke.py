"""Revoke a token before it expires."""

from typing import Protocol

from gateway.audit.events import NO_AUDIT, Action, Audit, fingerprint
from swell.errors import NotFound, Unavailable
from swell.log import log


class Grants(Protocol):
    async def revoke(self, token: str) -> bool:
        """Delete the grant of *token*; returns whether it existed."""


class Events(Protocol):
    async def revoked(self, token: str) -> None:
        """Publish to all gateways that *token* was revoked; raises `Unavailable`."""


class Revocations:
    def __init__(self, grants: Grants, events: Events, audit: Audit = NO_AUDIT) -> None:
        self._audit = audit
        self._grants = grants
        self._events = events

    async def revoke(self, token: str, actor: str = "") -> None:
        """Revoke *token* for *actor*; every gateway refuses it within a second.

        If the event cannot be published, the gateways notice within some seconds: they check cached grants again.

        Raises:
            NotFound: the token is unknown.
        """
        existed = await self._grants.revoke(token)
        try:
            await self._events.revoked(token)
        except Unavailable as error:
            log.warning("revocation not published", error=str(error))
        if not existed:
            raise NotFound(f"no record for token {token}")
        self._audit.record(Action.TOKEN_REVOKED, actor=actor, subject=fingerprint(token))
