"""Send e-mail by SMTP.

Sources: RFC 5321, "Simple Mail Transfer Protocol", https://www.rfc-editor.org/rfc/rfc5321; RFC 8314, "Cleartext
Considered Obsolete", https://www.rfc-editor.org/rfc/rfc8314
"""

import asyncio
import ssl
from email.message import EmailMessage

from msgspec import Struct

from gateway.notices.emails import RecipientRefused
from gateway.settings import SmtpTls
from swell.errors import Unavailable

SECONDS = 30.0
_PERMANENT = range(500, 600)


class SmtpServer(Struct, frozen=True, kw_only=True):
    """A mail server; without `user`, nothing is said about who sends."""

    host: str
    port: int
    tls: SmtpTls
    context: ssl.SSLContext
    user: str = ""
    password: str = ""


class SmtpMailer:
    """One connection per message."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server

    async def send(self, message: EmailMessage) -> None:
        """Send *message* within 30 s.

        Raises:
            Unavailable: the server does not answer or does not accept the message now, or its certificate is not valid.
            RecipientRefused: it never accepts this recipient.
        """
        import aiosmtplib  # noqa: PLC0415  (memory that few servers need)

        server = self._server
        try:
            async with asyncio.timeout(SECONDS):
                await aiosmtplib.send(
                    message,
                    hostname=server.host,
                    port=server.port,
                    username=server.user or None,
                    password=server.password or None,
                    use_tls=server.tls is SmtpTls.IMPLICIT,
                    start_tls=server.tls is SmtpTls.STARTTLS,
                    tls_context=None if server.tls is SmtpTls.NONE else server.context,
                    timeout=SECONDS,
                )
        except aiosmtplib.SMTPRecipientsRefused as error:
            if all(each.code in _PERMANENT for each in error.recipients):
                raise RecipientRefused(f"the mail server answers {error.recipients[0].code}") from error
            raise Unavailable("the mail server does not accept the recipient now") from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            code = getattr(error, "code", "")
            raise Unavailable(f"the mail server fails: {type(error).__name__} {code}".rstrip()) from error
