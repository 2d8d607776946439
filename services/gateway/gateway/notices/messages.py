"""Notices in their queue: one message per receiver, so that each is repeated, or becomes a dead letter, by itself.

A message has neither the secret of a webhook nor an e-mail address: the sender looks them up.
"""

from typing import ClassVar

from msgspec import Struct

from gateway.domain.notices import End
from swell.jobs.messages import Message


class WebhookNotice(Struct, Message, frozen=True, kw_only=True):
    """Send *end* to the webhook *webhook* of *owner*: without one, it is in the operator's file."""

    subject: ClassVar[str] = "notices.webhook"

    id: str
    webhook: str
    end: End
    owner: str = ""


class EmailNotice(Struct, Message, frozen=True, kw_only=True):
    """Send *end* to the e-mail address of its follower *user*."""

    subject: ClassVar[str] = "notices.email"

    id: str
    user: str
    end: End
