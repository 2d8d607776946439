"""Send notices as e-mail. Every value in a message is escaped, and none of them is part of a header.

Source: RFC 5322, "Internet Message Format", https://www.rfc-editor.org/rfc/rfc5322
"""

import re
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Protocol

from msgspec import Struct

from gateway.domain.notices import End, Follower, Kind
from gateway.notices.messages import EmailNotice
from gateway.notices.webhooks import page_of
from swell.log import log
from swell.store.records import Build

MAX_RECIPE = 12 << 10  # characters of a container file
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,185}")


class Followers(Protocol):
    async def find(self, record_id: str, user: str) -> Follower | None: ...

    async def remove(self, record_id: str, user: str) -> None: ...


class Builds(Protocol):
    async def get(self, build_id: str) -> Build | None: ...


class Mailer(Protocol):
    async def send(self, message: EmailMessage) -> None:
        """Send *message* to the recipient that it names.

        Raises:
            Unavailable: the server does not accept it now.
            RecipientRefused: it never accepts this recipient.
        """


class RecipientRefused(Exception):
    """The server does not deliver to this address."""


class Addresses(Struct, frozen=True):
    """Where e-mail comes from; with `recipient`, all of it goes there instead of to the users."""

    sender: str
    recipient: str = ""


class Emails:
    """*render* makes text of a template and values, which it escapes."""

    def __init__(
        self,
        followers: Followers,
        builds: Builds,
        mailer: Mailer,
        addresses: Addresses,
        server_url: str,
        render: Callable[..., str],
    ) -> None:
        self._followers = followers
        self._builds = builds
        self._mailer = mailer
        self._addresses = addresses
        self._server_url = server_url
        self._render = render

    async def send(self, notice: EmailNotice, _: int) -> None:
        """Send *notice*, and forget its follower: a repeated notice finds none.

        Raises:
            Unavailable: the mail server or the store does not answer: again later.
        """
        end = notice.end
        follower = await self._followers.find(end.id, notice.user)
        if follower is None:
            return
        recipient = self._addresses.recipient or follower.email
        if not is_address(recipient):
            log.warning("notice without a valid e-mail address dropped", id=end.id)
        else:
            build = None if end.kind is Kind.SCAN else await self._builds.get(end.id)
            try:
                await self._mailer.send(self._message(end, follower, build, recipient, notice.id))
                log.info("e-mail sent", id=end.id)
            except RecipientRefused as error:
                log.warning("e-mail address refused", id=end.id, error=str(error))
        await self._followers.remove(end.id, notice.user)

    def _message(
        self, end: End, follower: Follower, build: Build | None, recipient: str, notice_id: str
    ) -> EmailMessage:
        """The message; its headers have only ids of this server and checked addresses. Repeated, it has the same id."""
        message = EmailMessage()
        message["From"] = self._addresses.sender
        message["To"] = recipient
        message["Subject"] = f"Swell: {end.kind} {end.id} {'succeeded' if end.succeeded else 'failed'}"
        message["Date"] = format_datetime(end.finished)
        message["Message-ID"] = f"<{notice_id.replace(':', '.')}@{self._addresses.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        values = {
            "end": end,
            "user": follower.user,
            "page": page_of(end, self._server_url),
            "submission": build.submission if build else None,
            "result": build.result if build else None,
            "recipe": build.submission.containerfile[:MAX_RECIPE] if build else "",
        }
        message.set_content(self._render("email.txt", **values))
        message.add_alternative(self._render("email.html", **values), subtype="html")
        return message


def is_address(text: str) -> bool:
    """Whether *text* is a plain e-mail address, which cannot change the message or the commands of the protocol."""
    return _ADDRESS.fullmatch(text) is not None
