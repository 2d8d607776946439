"""Receivers of notices: an HTTP server and a mail server, on free ports of loopback."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, NamedTuple

import trustme
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword

SMTP_USER, SMTP_PASSWORD = "swell", "a password of the mail server"


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    content: bytes


class HttpReceiver:
    """Answers with `statuses` by path, 204 by default, after `delay` seconds.

    `hang` is never answered, `away` redirects to `secret`.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.statuses: dict[str, int] = {}
        self.delay = 0.0
        self.port = 0
        self.closed = asyncio.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def of(self, path: str) -> list[Received]:
        return [each for each in self.received if each.path == f"/{path}"]

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(request.path, headers, await request.read()))
        if request.path == "/hang":
            await self.closed.wait()
        await asyncio.sleep(self.delay)
        if request.path == "/away":
            raise web.HTTPTemporaryRedirect(self.url("secret"))
        return web.Response(status=self.statuses.get(request.path.removeprefix("/"), 204))


@asynccontextmanager
async def http_receiver() -> AsyncIterator[HttpReceiver]:
    receiver, app = HttpReceiver(), web.Application()
    app.router.add_route("*", "/{path}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.port = runner.addresses[0][1]
        yield receiver
    finally:
        receiver.closed.set()
        await runner.cleanup()


class MailServer:
    """Accepts messages from clients with the password, over TLS, but for recipients in `refused`."""

    def __init__(self, ca_file: Path) -> None:
        self.ca_file = ca_file
        self.port = 0
        self.messages: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.refused: set[str] = set()
        self.busy = 0

    async def handle_RCPT(  # noqa: N802  the name in aiosmtpd
        self, server: SMTP, session: object, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.busy:
            self.busy -= 1
            return "451 Try again later"
        if address in self.refused:
            return "550 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: object, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content or b""
        message = message_from_bytes(content if isinstance(content, bytes) else content.encode(), policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        self.recipients += envelope.rcpt_tos
        return "250 OK"


@asynccontextmanager
async def mail_server(folder: Path) -> AsyncIterator[MailServer]:
    """A server with STARTTLS and a password; its authority's certificate is in a file of *folder*."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    mail = MailServer(folder / "ca.pem")
    authority.cert_pem.write_to_path(mail.ca_file)

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        is_right = data == LoginPassword(SMTP_USER.encode(), SMTP_PASSWORD.encode())
        return AuthResult(success=is_right)

    def protocol() -> SMTP:
        return SMTP(mail, tls_context=context, require_starttls=True, auth_required=True, authenticator=authenticate)

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    mail.port = server.sockets[0].getsockname()[1]
    try:
        yield mail
    finally:
        server.close()
