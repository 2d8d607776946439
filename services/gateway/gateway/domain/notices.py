"""Notices: what is sent when a build, mirror or scan has ended, and to whom."""

import base64
import binascii
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

import msgspec
from msgspec import Meta, Struct
from yarl import URL

from gateway.domain.access.identity import Identity
from swell.jobs.messages import BuildDone, ScanDone
from swell.store.records import MIRROR_PREFIX

MAX_URL = 2_000  # characters
SECRET_PREFIX = "whsec_"  # noqa: S105  (the prefix of Standard Webhooks)
SECRET_BYTES = range(24, 65)


class Kind(StrEnum):
    BUILD = "build"
    MIRROR = "mirror"
    SCAN = "scan"


ALL_KINDS = tuple(Kind)


class Preference(StrEnum):
    """When a user gets e-mail; the names are those of Seqera Platform."""

    ALWAYS_ON = "ALWAYS_ON"
    ON_ERROR = "ON_ERROR"
    ALWAYS_OFF = "ALWAYS_OFF"

    def includes(self, *, succeeded: bool) -> bool:
        return self is Preference.ALWAYS_ON or (self is Preference.ON_ERROR and not succeeded)


class End(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The end of a build, mirror or scan with the id `id`; `counts` are the findings of a scan by severity.

    `begun` is false for a build that was cancelled in its queue.
    """

    kind: Kind
    id: str
    image: str
    succeeded: bool
    finished: datetime
    platform: str = ""
    begun: bool = True
    counts: dict[str, int] = {}

    @classmethod
    def of_build(cls, event: BuildDone) -> Self:
        """Return the end of a build, or of a mirror, whose ids have a prefix of their own."""
        return cls(
            kind=Kind.MIRROR if event.id.startswith(MIRROR_PREFIX) else Kind.BUILD,
            id=event.id,
            image=event.target_image,
            platform=event.platform,
            succeeded=event.succeeded,
            finished=event.finished,
            begun=event.begun,
        )

    @classmethod
    def of_scan(cls, event: ScanDone) -> Self:
        return cls(
            kind=Kind.SCAN,
            id=event.id,
            image=event.image,
            platform=event.platform,
            succeeded=event.succeeded,
            finished=event.finished,
            counts=event.counts,
        )


class Follower(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who has requested a build, mirror or scan; an anonymous client has no `user`. `preference` is None by default."""

    user: str = ""
    organisation: str = ""
    email: str = ""
    preference: Preference | None = None

    @classmethod
    def of(cls, identity: Identity) -> Self:
        return cls(
            user=identity.user,
            organisation=identity.organisation,
            email=identity.email,
            preference=preference_of(identity.notification),
        )


class Webhook(Struct, frozen=True, kw_only=True):
    """An address that gets notices as HTTP requests. With `organisation`, only those of its requests.

    `secret` is `whsec_` and 24 to 64 bytes in base64.
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")]
    url: Annotated[str, Meta(max_length=MAX_URL)]
    secret: str
    events: tuple[Kind, ...] = ALL_KINDS
    organisation: str = ""


class WebhookFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the operator's file: a table `[[webhook]]` per address."""

    webhook: Annotated[tuple[Webhook, ...], Meta(max_length=50)] = ()


def preference_of(text: str) -> Preference | None:
    """The preference *text*; None if it is unknown or empty."""
    return Preference(text) if text in Preference.__members__ else None


def parse_webhooks(content: bytes) -> dict[str, Webhook]:
    """Return the webhooks in the operator's file by their names.

    Raises:
        ValueError: it is no TOML of this form, two have one name, or a URL or a secret is malformed.
    """
    webhooks = msgspec.toml.decode(content, type=WebhookFile).webhook
    by_name = {webhook.name: webhook for webhook in webhooks}
    if len(by_name) != len(webhooks):
        raise ValueError("two webhooks have the same name")
    for webhook in webhooks:
        if url_of(webhook.url) is None:
            raise ValueError(f"the url of {webhook.name} is not an http or https URL without a user name")
        secret_of(webhook.secret)
    return by_name


def url_of(text: str) -> URL | None:
    """Parse the URL of a webhook; None if it is not one that can be used."""
    if len(text) > MAX_URL or not text.isprintable():
        return None
    try:
        url = URL(text)
        is_plain = url.scheme in {"http", "https"} and bool(url.host) and url.raw_user is None and not url.raw_password
    except ValueError:
        return None
    return url if is_plain else None


def secret_of(text: str) -> bytes:
    """The bytes of a secret.

    Raises:
        ValueError: it has another form; the message does not contain it.
    """
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not text.startswith(SECRET_PREFIX) or len(secret) not in SECRET_BYTES:
        raise ValueError("the secret of a webhook is whsec_ and 24 to 64 bytes in base64")
    return secret
