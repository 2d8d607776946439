"""Make, list, change and remove accounts: operators all of them, users their own password."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from msgspec.structs import replace

from gateway.access.accounts.accounts import Accounts
from gateway.access.guess_limiter import GuessLimiter
from gateway.access.keys import DEFAULT_PAGE, MAX_PAGE, Actor, KeyIssuer
from gateway.audit.events import NO_AUDIT, Action, Audit
from gateway.domain.access.account import (
    MAX_ACCOUNTS,
    Account,
    check_password,
    is_account_name,
    new_password,
)
from gateway.domain.access.identity import USER_SCOPES, Scope
from swell.api.accounts import AccountChange, AccountRequest
from swell.errors import AccountRequired, BadRequest, NotFound, ScopeRequired, Unavailable
from swell.log import log

_ATTEMPTS = 10


class Stored(Protocol):
    """Raises `Unavailable` when the store does not answer."""

    async def add(self, account: Account, limit: int) -> bool | None:
        """Store a new account; False if its name is taken, None if there are *limit* accounts."""

    async def get(self, name: str) -> Account | None: ...

    async def replace(self, former: Account, account: Account) -> bool:
        """Store *account* instead of *former*; False if another request has changed or removed it."""

    async def remove(self, name: str) -> bool: ...

    async def page(self, after: str | None, limit: int) -> tuple[Sequence[Account], str | None]:
        """At most *limit* accounts after the name *after*, and the cursor of the next ones."""


class Sessions(Protocol):
    async def end_all(self, user: str, actor: str) -> int:
        """End the sessions of *user* in browsers."""


class AccountManager:
    """Who loses an account loses its sessions and API keys, too: all gateways refuse them within a second."""

    def __init__(
        self,
        stored: Stored,
        accounts: Accounts,
        key_issuer: KeyIssuer,
        sessions: Sessions,
        guess_limiter: GuessLimiter | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        audit: Audit = NO_AUDIT,
    ) -> None:
        self._stored = stored
        self._accounts = accounts
        self._key_issuer = key_issuer
        self._sessions = sessions
        self._guess_limiter = guess_limiter or GuessLimiter()
        self._now = now
        self._audit = audit

    async def create(self, actor: Actor, request: AccountRequest, address: str) -> tuple[Account, str]:
        """Make an account for *actor*, at *address*; returns it, and the password if the server has chosen it.

        Raises:
            BadRequest: the name is taken, the password is too weak, or there are 10,000 accounts.
            ScopeRequired: *actor* is no operator.
            TooManyRequests: too many passwords are being verified.
        """
        _require_operator(actor)
        if request.password is not None:
            check_password(request.password, request.name)
        chosen = "" if request.password else new_password()
        account = Account(
            name=request.name,
            hash=await self._accounts.hash(request.password or chosen, address),
            email=request.email,
            organisation=request.organisation,
            scopes=USER_SCOPES if request.scopes is None else _scopes(request.scopes),
            created=self._now(),
            created_by=actor.name,
        )
        added = not self._accounts.has(request.name) and await self._stored.add(account, MAX_ACCOUNTS)
        if not added:
            problem = (
                f"there are {MAX_ACCOUNTS} accounts" if added is None else f"{request.name} has an account already"
            )
            raise BadRequest(problem)
        self._record(Action.ACCOUNT_CREATED, actor, account)
        return account, chosen

    async def list(self, actor: Actor, cursor: str | None, limit: int | None) -> tuple[Sequence[Account], str | None]:
        """At most *limit* accounts (1 to 100, default 20) after *cursor*, by name, and the next cursor.

        Raises:
            BadRequest: a parameter is malformed.
            ScopeRequired: *actor* is no operator.
        """
        _require_operator(actor)
        size = DEFAULT_PAGE if limit is None else limit
        if not 1 <= size <= MAX_PAGE:
            raise BadRequest(f"limit can be 1 to {MAX_PAGE}")
        if cursor is not None and not is_account_name(cursor):
            raise BadRequest("cursor is not one that a page had as its next")
        return await self._stored.page(cursor, size)

    async def get(self, actor: Actor, name: str) -> Account:
        """The account *name*; raises `NotFound` for those of others, too."""
        account = await self._stored.get(name) if is_account_name(name) else None
        if account is None or not (actor.is_operator or name == actor.name):
            raise NotFound(f"no account {name[:64]}")
        return account

    async def change(self, actor: Actor, name: str, change: AccountChange, address: str) -> Account:
        """Replace members of the account *name*, for *actor* at *address*.

        With another password or other rights, its sessions end. API keys that it has made for itself, and that may do
        more than the account now, or for another organisation, are revoked; of a disabled one, all keys.

        Raises:
            BadRequest: the password is too weak, or is missing, or the current one is wrong.
            NotFound: the account does not exist, or is another user's.
            ScopeRequired: a user may change nothing but the password.
            TooManyRequests: too many wrong passwords came from *address*, or too many are being verified.
        """
        await self.get(actor, name)
        password = change.password
        if password is not None:
            check_password(password, name)
        if not actor.is_operator:
            _check_own(change)
        if not actor.is_operator or (name == actor.name and change.current_password is not None):
            await self._check_current(name, change.current_password or "", address)
        hashed = await self._accounts.hash(password, address) if password is not None else None
        account = await self._replace(actor, name, change, hashed)
        self._record(Action.ACCOUNT_CHANGED, actor, account)
        if account.disabled or hashed or change.scopes is not None or change.organisation is not None:
            await self._end_access(actor, account)
        return account

    async def remove(self, actor: Actor, name: str) -> Account:
        """Delete the account *name*, its sessions and its API keys.

        Raises:
            NotFound: it does not exist.
            ScopeRequired: *actor* is no operator.
        """
        _require_operator(actor)
        account = await self.get(actor, name)
        await self._end_access(actor, await self._replace(actor, name, AccountChange(disabled=True), None))
        if not await self._stored.remove(name):
            raise NotFound(f"no account {name[:64]}")
        self._record(Action.ACCOUNT_REMOVED, actor, account)
        return account

    async def _replace(self, actor: Actor, name: str, change: AccountChange, hashed: str | None) -> Account:
        """Store the account *name* with *change*, and with the password that is *hashed*."""
        for _ in range(_ATTEMPTS):
            former = await self.get(actor, name)
            account = _changed(former, change, hashed)
            if await self._stored.replace(former, account):
                return account
        raise Unavailable("the account is changed by many requests at once")

    async def _check_current(self, name: str, password: str, address: str) -> None:
        """Check that *password* is that of the account *name*; a wrong one counts as a guess of *address*."""
        try:
            with self._guess_limiter.attempt(address, f"password of {name}: {password}"):
                await self._accounts.check(name.encode(), password.encode("utf-8", "replace"), address)
        except AccountRequired as error:
            raise BadRequest("currentPassword is not the password of this account") from error

    async def _end_access(self, actor: Actor, account: Account) -> None:
        """End what the user of *account* has been given on the strength of former rights.

        The account is stored first. If a gateway is killed in between, the same request again ends it.
        """
        scopes = frozenset[Scope]() if account.disabled else account.scopes
        await self._sessions.end_all(account.name, actor.name)
        await self._key_issuer.revoke_beyond(actor, account.name, scopes, account.organisation)

    def _record(self, action: Action, actor: Actor, account: Account) -> None:
        self._audit.record(action, user=account.name, organisation=account.organisation, actor=actor.name)
        log.info("account changed", action=action.value, user=account.name, by=actor.name)


def _require_operator(actor: Actor) -> None:
    if not actor.is_operator:
        raise ScopeRequired("accounts are managed by operators")


def _check_own(change: AccountChange) -> None:
    """Check that a user sets nothing but a password."""
    if change.password is None or change != AccountChange(
        password=change.password, current_password=change.current_password
    ):
        raise ScopeRequired("only an operator may change more than the password of an account")


def _changed(account: Account, change: AccountChange, hashed: str | None) -> Account:
    return replace(
        account,
        hash=hashed or account.hash,
        email=account.email if change.email is None else change.email,
        organisation=account.organisation if change.organisation is None else change.organisation,
        scopes=account.scopes if change.scopes is None else _scopes(change.scopes),
        disabled=account.disabled if change.disabled is None else change.disabled,
    )


def _scopes(names: Iterable[str]) -> frozenset[Scope]:
    if not (scopes := frozenset(map(Scope, names))):
        raise BadRequest("scopes is empty: an account needs at least one; `disabled` shuts it")
    return scopes
