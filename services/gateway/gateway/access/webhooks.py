"""Webhooks that users store for themselves, and operators for organisations."""

import base64
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from msgspec import Struct
from yarl import URL

from gateway.access.keys import Actor
from gateway.audit.events import NO_AUDIT, Action, Audit
from gateway.domain.access.vault import parts_of
from gateway.domain.notices import ALL_KINDS, MAX_URL, SECRET_PREFIX, Kind, url_of
from swell.errors import BadRequest, NotFound, NotSupported
from swell.log import log

MOST = 10
"""Of one owner."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class OwnWebhook(Struct, frozen=True, kw_only=True):
    """A stored webhook without its secret."""

    url: str
    events: tuple[Kind, ...]
    stored: datetime
    stored_by: str


class StoredWebhooks(Protocol):
    async def put(self, owner: str, name: str, webhook: OwnWebhook, secret: str, limit: int) -> bool:
        """Store a webhook; False if *owner* has *limit* others."""

    async def of(self, owner: str) -> Mapping[str, OwnWebhook]: ...

    async def delete(self, owner: str, name: str) -> bool:
        """Delete a webhook; returns whether it existed."""


class WebhookStore:
    """Without *stored*, because there are no encryption keys, there are no webhooks of users.

    *is_named* says whether the operator has named the host of a URL; such URLs need no https.
    """

    def __init__(self, stored: StoredWebhooks | None, is_named: Callable[[URL], bool], audit: Audit = NO_AUDIT) -> None:
        self._stored = stored
        self._is_named = is_named
        self._audit = audit

    async def put(
        self, actor: Actor, owner: str, name: str, url: str, events: tuple[str, ...]
    ) -> tuple[OwnWebhook, str]:
        """Store a webhook, or replace it; return it with its new secret.

        Raises:
            BadRequest: the name, the URL or an event is not valid, or *owner* has 10 others.
            NotSupported: this server has no encryption keys.
        """
        parsed = url_of(url)
        if parsed is None or not (parsed.scheme == "https" or self._is_named(parsed)):
            raise BadRequest(f"url must be an https URL without a user name, of at most {MAX_URL} characters")
        if unknown := sorted(set(events) - set(ALL_KINDS)):
            raise BadRequest(f"events has {unknown[0][:50]!r}; it may have {', '.join(ALL_KINDS)}")
        kinds = tuple(kind for kind in ALL_KINDS if kind in events) or ALL_KINDS
        webhook = OwnWebhook(url=url, events=kinds, stored=datetime.now(UTC), stored_by=actor.name)
        secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
        if not await self._open().put(owner, check_name(name), webhook, secret, MOST):
            raise BadRequest(f"at most {MOST} webhooks can be stored: delete others first")
        self._record(Action.WEBHOOK_STORED, actor, owner, name)
        log.info("webhook stored", owner=owner, webhook=name, by=actor.name)
        return webhook, secret

    async def list(self, owner: str) -> Mapping[str, OwnWebhook]:
        """The webhooks of *owner* by their names."""
        return await self._open().of(owner)

    async def delete(self, actor: Actor, owner: str, name: str) -> None:
        """Delete a webhook; notices that wait for it are dropped.

        Raises:
            NotFound: it does not exist.
        """
        if not await self._open().delete(owner, check_name(name)):
            raise NotFound(f"no webhook {name}")
        self._record(Action.WEBHOOK_REMOVED, actor, owner, name)
        log.info("webhook deleted", owner=owner, webhook=name, by=actor.name)

    def _open(self) -> StoredWebhooks:
        if self._stored is None:
            raise NotSupported("this server stores no webhooks: its operator has to set SWELL_ENCRYPTION_KEYS")
        return self._stored

    def _record(self, action: Action, actor: Actor, owner: str, name: str) -> None:
        user, organisation = parts_of(owner)
        self._audit.record(action, user=user, organisation=organisation, actor=actor.name, subject=name)


def check_name(name: str) -> str:
    """Return *name*, the name of a webhook; raises `BadRequest`."""
    if not _NAME.fullmatch(name):
        raise BadRequest("the name of a webhook has 1 to 64 letters, digits, - _ or .")
    return name
