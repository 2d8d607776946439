"""The messages of `/v1alpha2/webhooks`: addresses of users and organisations that get notices."""

from datetime import datetime

from msgspec import Struct


class WebhookRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """`PUT /v1alpha2/webhooks/{name}`: `url` has at most 2,000 characters; `events` are build, mirror and scan."""

    url: str
    events: tuple[str, ...] = ()


class WebhookRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A webhook of `user` or of `organisation`, without its secret."""

    name: str
    url: str
    events: tuple[str, ...]
    stored: datetime
    stored_by: str
    user: str = ""
    organisation: str = ""


class StoredWebhookAnswer(WebhookRecord, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A webhook that was stored now, with its new secret, which is not shown again."""

    secret: str


class WebhookList(Struct, frozen=True):
    """The webhooks of a user or of an organisation."""

    webhooks: tuple[WebhookRecord, ...] = ()
