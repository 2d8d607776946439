"""Cookies of browsers that have signed in, and the protection against requests of other sites.

Sources: RFC 6265bis, "Cookies", https://datatracker.ietf.org/doc/draft-ietf-httpbis-rfc6265bis/; OWASP, "Session
Management Cheat Sheet", https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html
"""

import hmac
import re
import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Protocol

from litestar.datastructures import Cookie
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.audit.events import NO_AUDIT, Action, Audit, fingerprint
from gateway.audit.refusals import Refusals
from gateway.domain.access.identity import Identity
from gateway.domain.access.session import Session, new_session
from gateway.http.middleware.origin import CrossSite, is_own_page

CSRF_HEADER = b"x-csrf-token"
CSRF_FIELD = "csrf_token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_csrf_token: ContextVar[str] = ContextVar("csrf_token", default="")
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


class StoredSessions(Protocol):
    async def add(self, secret: str, session: Session) -> None: ...

    async def get(self, secret: str) -> Session | None: ...

    async def end(self, secret: str, user: str) -> None: ...

    async def end_all(self, user: str) -> int: ...


class AccountMarks(Protocol):
    async def mark(self, name: str) -> str | None:
        """What the rights of the account *name* rest on; None if it opens nothing. Raises `Unavailable`."""


class Sessions:
    """The sessions of browsers. *tls* says whether they use https; then cookies are sent over https only.

    Without *accounts*, no session begins with a password.
    """

    def __init__(
        self,
        stored: StoredSessions,
        lifetime: timedelta,
        accounts: AccountMarks | None = None,
        *,
        tls: bool,
        audit: Audit = NO_AUDIT,
    ) -> None:
        self._accounts = accounts
        self._audit = audit
        self.refusals = Refusals(audit)
        self._stored = stored
        self._lifetime = lifetime
        self._tls = tls
        self._name = "__Host-swell_session" if tls else "swell_session"

    def secret_of(self, scope: Scope) -> str | None:
        """The secret in the cookie of the request *scope*, if it has the form of one."""
        secret = cookies_of(scope["headers"]).get(self._name, "")
        return secret if _SECRET.fullmatch(secret) else None

    async def get(self, secret: str) -> Session | None:
        """Return the session of *secret*; None if it has ended.

        Raises:
            Unavailable: the store does not answer.
        """
        session = await self._stored.get(secret)
        if session is None or session.expires <= datetime.now(UTC):
            return None
        return session if await self._has_account(session) else None

    async def _has_account(self, session: Session) -> bool:
        """Whether the account of *session*, if it has one, is as it was at its start."""
        if not session.account_mark:
            return True
        current = await self._accounts.mark(session.identity.user) if self._accounts else None
        return current == session.account_mark

    async def start(self, identity: Identity, former: str | None = None, account_mark: str = "") -> Cookie:
        """Start a session of *identity*; return its cookie, which scripts of pages cannot read.

        The session with the secret *former* ends. With *account_mark*, it ends when its account has another mark.
        """
        if former:
            await self.end(former)
        secret = secrets.token_urlsafe(32)
        await self._stored.add(secret, new_session(identity, datetime.now(UTC), self._lifetime, account_mark))
        self._record(Action.SIGNED_IN, identity, secret)
        return self.cookie(self._name, secret, int(self._lifetime.total_seconds()))

    async def end(self, secret: str) -> Cookie:
        """End the session of *secret*; return a cookie that replaces its cookie."""
        if session := await self._stored.get(secret):
            await self._stored.end(secret, session.identity.user)
            self._record(Action.SIGNED_OUT, session.identity, secret)
        return self.cookie(self._name, "", 0)

    async def end_all(self, user: str, actor: str) -> int:
        """End all sessions of *user* for *actor*; returns their number."""
        ended = await self._stored.end_all(user)
        if ended:
            self._audit.record(Action.SIGNED_OUT, user=user, actor=actor)
        return ended

    def _record(self, action: Action, identity: Identity, secret: str) -> None:
        whose = {"user": identity.user, "organisation": identity.organisation}
        self._audit.record(action, subject=fingerprint(secret), **whose)

    def cookie(self, name: str, value: str, seconds: int) -> Cookie:
        """A cookie for this server only, which other sites cannot make a browser send with a POST request."""
        return Cookie(name, path="/", value=value, max_age=seconds, secure=self._tls, httponly=True, samesite="lax")

    def own_name(self, name: str) -> str:
        """The name of a further cookie; with https, other hosts of the domain cannot set it."""
        return f"__Host-{name}" if self._tls else name


def csrf_token(secret: str) -> str:
    """The token that state-changing requests of the session *secret* need: pages have it in their forms."""
    return blake2b(b"csrf", key=secret.encode(), digest_size=24).hexdigest()


def current_csrf_token() -> str:
    """The token for the forms in the response to the current request; empty for a browser without a session."""
    return _csrf_token.get()


class SessionTokens:
    """Wraps an application: `current_csrf_token` has the token of the browser that sends the request."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and (secret := self._sessions.secret_of(scope)):
            _csrf_token.set(csrf_token(secret))
        await self._app(scope, receive, send)


def check_csrf(scope: Scope, secret: str) -> None:
    """Check that a page of this server sent the request *scope*, unless it changes nothing.

    The CSRF token is in the header `X-CSRF-Token`, or in the form that was read (`remember_form_token`).

    Raises:
        CrossSite: another site sent it, or the CSRF token is missing or wrong.
    """
    if scope.get("method") in SAFE_METHODS:
        return
    if not is_own_page(scope["headers"]):
        raise CrossSite
    in_header = next((value.decode("latin-1") for name, value in scope["headers"] if name == CSRF_HEADER), "")
    shown = scope.get("state", {}).get(CSRF_FIELD) or in_header
    if not hmac.compare_digest(str(shown).encode(), csrf_token(secret).encode()):
        raise CrossSite("the request has no valid CSRF token")


def remember_form_token(scope: Scope, token: str | None) -> None:
    """Store the CSRF *token* of a form for `check_csrf`."""
    scope.setdefault("state", {})[CSRF_FIELD] = token


def cookies_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The cookies of a request; of several with one name, the first, which has the most specific path."""
    cookies: dict[str, str] = {}
    for name, value in headers:
        if name == b"cookie":
            for pair in value.decode("latin-1").split(";")[:100]:
                key, equals, content = pair.strip().partition("=")
                if equals:
                    cookies.setdefault(key, content.strip('"'))
    return cookies
