"""The events of the audit trail."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Protocol, runtime_checkable

from msgspec import Struct
from msgspec.structs import replace


class Action(StrEnum):
    GRANTED = "container.granted"
    BUILD_REQUESTED = "build.requested"
    MIRROR_REQUESTED = "mirror.requested"
    CANCELLED = "build.cancelled"
    TOKEN_REVOKED = "token.revoked"  # noqa: S105  (a name)
    KEY_ISSUED = "key.issued"
    KEY_CHANGED = "key.changed"
    KEY_REVOKED = "key.revoked"
    ACCOUNT_CREATED = "account.created"
    ACCOUNT_CHANGED = "account.changed"
    ACCOUNT_REMOVED = "account.removed"
    CREDENTIAL_STORED = "credential.stored"
    CREDENTIAL_CHANGED = "credential.changed"
    CREDENTIAL_REMOVED = "credential.removed"
    WEBHOOK_STORED = "webhook.stored"
    WEBHOOK_REMOVED = "webhook.removed"
    SIGNED_IN = "session.started"
    SIGN_IN_REFUSED = "session.refused"
    SIGNED_OUT = "session.ended"
    POLICY_READ = "policy.read"
    USER_REMOVED = "user.removed"
    ORGANISATION_REMOVED = "organisation.removed"
    WORKER_DRAINED = "worker.drained"
    WORKER_RESUMED = "worker.resumed"
    DEAD_LETTER_REPLAYED = "dead-letter.replayed"
    DEAD_LETTER_DISCARDED = "dead-letter.discarded"


class AuditEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One action, in UTC; `id` is unique.

    - `user` is whose request, key, account or credential it is; empty for anonymous clients. `actor` is who has acted
      for that user: a user or an operator's account.
    - `subject` is the id of the build, mirror, key, worker or dead letter, the registry of a credential, the name of a
      webhook, or the fingerprint of a token, a session or a policy file. A token is never part of an event, nor an
      e-mail address or a network address.
    """

    id: str
    time: datetime
    action: Action
    user: str = ""
    actor: str = ""
    organisation: str = ""
    subject: str = ""
    image: str = ""


@runtime_checkable
class Audit(Protocol):
    def record(
        self,
        action: Action,
        *,
        user: str = "",
        actor: str = "",
        organisation: str = "",
        subject: str = "",
        image: str = "",
    ) -> None:
        """Add an event; it is stored in the background, usually within a second."""


class NoAudit:
    """A server without an audit trail."""

    def record(self, action: Action, **fields: str) -> None:
        """Do nothing."""


NO_AUDIT = NoAudit()


def fingerprint(content: str | bytes) -> str:
    """What names a token, or a file, in the trail: 16 hexadecimal digits of its SHA-256, which open nothing."""
    return sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]


def people_of(events: Iterable[AuditEvent]) -> set[str]:
    """The names of users and actors in *events*."""
    return {name for event in events for name in (event.user, event.actor) if name}


def renamed(event: AuditEvent, names: Mapping[str, str]) -> AuditEvent:
    """Return *event* with the names of its user and its actor replaced by those in *names*."""
    return replace(event, user=names.get(event.user, event.user), actor=names.get(event.actor, event.actor))
