"""Remove an organisation: its credentials, webhooks, keys, sessions, tokens, builds, scans, and names in the audit."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from msgspec import Struct

from gateway.access.keys import Actor
from gateway.access.revoke import Revocations
from gateway.access.vault import Vault
from gateway.audit.events import NO_AUDIT, Action, Audit
from gateway.domain.access.vault import organisation_owner
from swell.api.operator import RemovalAnswer, RemovalRequest
from swell.errors import NotFound, NotSupported
from swell.log import log

MAX_SECONDS = 5.0


class Found(Struct, frozen=True):
    """What some records say about one organisation: ids, and the users of its accounts, keys, sessions and tokens."""

    tokens: Sequence[str] = ()
    accounts: Sequence[str] = ()
    keys: Sequence[str] = ()
    sessions: Sequence[tuple[str, str]] = ()
    """Ids with their users."""
    builds: Sequence[str] = ()
    """Those that have ended, and that no token of others needs."""
    kept: Sequence[str] = ()
    """The other builds."""
    scans: Sequence[str] = ()
    users: frozenset[str] = frozenset()


class Stored(Protocol):
    """Raises `Unavailable` when a backend does not answer."""

    async def needed_by_others(self, organisation: str) -> frozenset[str]:
        """Return the builds that tokens of others name."""

    async def scan(self, organisation: str, needed: frozenset[str], cursor: str) -> tuple[Found, str | None]:
        """Return what some records say, and the cursor of the next ones; the first cursor is `0`."""

    async def webhooks(self, organisation: str, *, deletes: bool) -> int:
        """Count, and with *deletes* remove, the webhooks with their secrets."""

    async def remove_account(self, name: str) -> None: ...

    async def remove_key(self, key_id: str) -> None: ...

    async def end_session(self, session_id: str, user: str) -> None: ...

    async def remove_request(self, token: str) -> None: ...

    async def remove_build(self, build_id: str) -> None:
        """Delete the record and the logs."""

    async def remove_scan(self, scan_id: str) -> None:
        """Delete the record and the reports."""

    async def forget_user(self, user: str) -> None:
        """Remove the name of *user* from the audit trail: its events stay, under a pseudonym."""


class OrganisationRemoval:
    def __init__(
        self,
        stored: Stored,
        revocations: Revocations,
        vault: Vault,
        audit: Audit = NO_AUDIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stored = stored
        self._revocations = revocations
        self._vault = vault
        self._audit = audit
        self._clock = clock

    async def remove(self, request: RemovalRequest, operator: str) -> RemovalAnswer:
        """Remove data of an organisation for about 5 s; with `next` in the answer, more is left.

        Raises:
            Unavailable: a backend does not answer; the request can be sent again.
        """
        organisation, deletes = request.organisation, not request.dry_run
        answer = RemovalAnswer()
        if request.cursor is None:
            if deletes:
                self._audit.record(Action.ORGANISATION_REMOVED, actor=operator, organisation=organisation)
                log.info("organisation removed", organisation=organisation, by=operator)
            answer.credentials = await self._credentials(organisation, operator, deletes=deletes)
            answer.webhooks = await self._stored.webhooks(organisation, deletes=deletes)
        needed = await self._stored.needed_by_others(organisation)
        until, cursor = self._clock() + MAX_SECONDS, request.cursor or "0"
        following: str | None = cursor
        while following is not None and self._clock() < until:
            found, following = await self._stored.scan(organisation, needed, following)
            _count(answer, found)
            if deletes:
                await self._delete(found, operator)
        answer.next = following
        return answer

    async def _credentials(self, organisation: str, operator: str, *, deletes: bool) -> int:
        owner, actor = organisation_owner(organisation), Actor(operator)
        try:
            paths = list(await self._vault.list(owner))
        except NotSupported:  # without encryption keys, nothing is stored
            return 0
        for path in paths if deletes else ():
            with suppress(NotFound):  # deleted meanwhile
                await self._vault.delete(actor, owner, path)
        return len(paths)

    async def _delete(self, found: Found, operator: str) -> None:
        """Delete what gives access first."""
        for name in found.accounts:
            await self._stored.remove_account(name)
        for key_id in found.keys:
            await self._stored.remove_key(key_id)
        for session_id, user in found.sessions:
            await self._stored.end_session(session_id, user)
        for token in found.tokens:
            with suppress(NotFound):  # it has expired
                await self._revocations.revoke(token, operator)
            await self._stored.remove_request(token)
        for build_id in found.builds:
            await self._stored.remove_build(build_id)
        for scan_id in found.scans:
            await self._stored.remove_scan(scan_id)
        for user in found.users:
            await self._stored.forget_user(user)


def _count(answer: RemovalAnswer, found: Found) -> None:
    answer.tokens += len(found.tokens)
    answer.accounts += len(found.accounts)
    answer.keys += len(found.keys)
    answer.sessions += len(found.sessions)
    answer.builds += len(found.builds)
    answer.kept += len(found.kept)
    answer.scans += len(found.scans)
