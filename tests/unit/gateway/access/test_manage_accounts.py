"""Accounts: who may make, change and remove them, and what ends with them."""

import base64
from dataclasses import dataclass
from typing import Any

import bcrypt
import pytest
from msgspec.structs import replace

from gateway.access.accounts import accounts as module
from gateway.access.accounts.accounts import Accounts
from gateway.access.accounts.manage_accounts import AccountManager
from gateway.access.guess_limiter import GuessLimiter
from gateway.access.keys import Actor, KeyIssuer
from gateway.domain.access.account import Account
from gateway.domain.access.identity import USER_SCOPES, Identity, Scope
from gateway.domain.quota import Quota
from swell.api.accounts import AccountChange, AccountRequest
from swell.api.keys import KeyRequest
from swell.errors import AccountRequired, BadRequest, NotFound, ScopeRequired, TooManyRequests, Unavailable
from tests.unit.gateway.doubles import NOON, MemoryAccounts, MemoryKeys

OPS = Actor("ops")
PASSWORD = "correct horse battery"
HERE = "192.0.2.1"


class Silent:
    async def key_changed(self, key_id: str, *, revoked: bool) -> None: ...


@dataclass
class Site:
    """A server with one operator in the file, `ops`, and no stored account."""

    stored: MemoryAccounts
    keys: MemoryKeys
    ended: list[str]
    accounts: Accounts
    issuer: KeyIssuer
    manager: AccountManager

    async def end_all(self, user: str, _actor: str) -> int:
        self.ended.append(user)
        return 1

    async def make(self, name: str = "grace", **members: Any) -> Actor:
        """An account, and its user as an actor."""
        await self.manager.create(OPS, AccountRequest(name=name, password=PASSWORD, **members), HERE)
        return await self.sign_in(name)

    async def sign_in(self, name: str, password: str = PASSWORD) -> Actor:
        return await self.accounts.authenticate(basic(name, password), HERE)


def basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(module, "_COST", 4)
    stored, keys = MemoryAccounts(), MemoryKeys()
    accounts = Accounts({b"ops": bcrypt.hashpw(b"of the file", bcrypt.gensalt(4))}, stored)
    issuer = KeyIssuer(keys, Silent(), lambda: NOON)
    site = Site(stored, keys, [], accounts, issuer, None)  # type: ignore[arg-type]
    site.manager = AccountManager(stored, accounts, issuer, site, now=lambda: NOON)
    return site


async def test_an_account_is_a_user_with_scopes(site: Site) -> None:
    """Its identity has what the operator has given; without `administer` it is no operator."""
    actor = await site.make(email="grace@x.example", organisation="lab")

    assert actor.identity == Identity(user="grace", email="grace@x.example", organisation="lab", scopes=USER_SCOPES)
    with pytest.raises(ScopeRequired):
        await site.accounts.require(basic("grace", PASSWORD), HERE)
    await site.make("root", scopes=("administer",))
    assert await site.accounts.require(basic("root", PASSWORD), HERE) == "root"


async def test_only_a_slow_hash_is_stored(site: Site) -> None:
    """The password of the server's choice is returned once, and opens the account."""
    account, password = await site.manager.create(OPS, AccountRequest(name="grace"), HERE)

    assert bcrypt.checkpw(password.encode(), account.hash.encode())
    assert password not in repr(site.stored.stored)
    assert (await site.sign_in("grace", password)).name == "grace"


@pytest.mark.parametrize(
    "password", ["short", "x" * 73, "ä" * 37, "tab\tin the password", "\ud800" * 12, "grace.hopper1"]
)
async def test_a_weak_password_is_refused(site: Site, password: str) -> None:
    """bcrypt reads 72 bytes: a longer one would be cut off silently."""
    with pytest.raises(BadRequest):
        await site.manager.create(OPS, AccountRequest(name="Grace.Hopper1", password=password), HERE)
    assert not site.stored.stored


@pytest.mark.parametrize("name", ["ops", "grace"])
async def test_a_name_is_given_once(site: Site, name: str) -> None:
    """Neither an operator of the file nor another account can be replaced."""
    await site.make()

    with pytest.raises(BadRequest, match="has an account already"):
        await site.make(name)


async def test_the_file_counts_before_the_store(site: Site) -> None:
    """Who can write to the store does not become an operator of the file."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    site.stored.stored["ops"] = Account(
        name="ops", hash=hashed, created=NOON, created_by="x", scopes=frozenset({Scope.ADMINISTER})
    )

    with pytest.raises(AccountRequired):
        await site.sign_in("ops")


@pytest.mark.parametrize("change", [AccountChange(disabled=True), AccountChange(password="another password")])
async def test_a_change_counts_at_once(site: Site, change: AccountChange) -> None:
    """Although the password was verified a moment ago."""
    await site.make()
    await site.manager.change(OPS, "grace", change, HERE)

    with pytest.raises(AccountRequired):
        await site.sign_in("grace")


async def test_a_removed_account_takes_its_keys_and_sessions_along(site: Site) -> None:
    """Also a key that an operator has made for the user; those of others stay."""
    grace, ada = await site.make(), await site.make("ada")
    await site.issuer.issue(grace, KeyRequest())
    await site.issuer.issue(OPS, KeyRequest(user="grace"))
    other, _ = await site.issuer.issue(ada, KeyRequest())

    await site.manager.remove(OPS, "grace")

    assert list(site.keys.stored) == [other.id]
    assert site.ended == ["grace"]
    with pytest.raises(AccountRequired):
        await site.sign_in("grace")


async def test_a_request_of_before_adds_no_key_after_the_removal(site: Site) -> None:
    """It was checked before the account was removed, and runs on."""
    grace = await site.make()
    await site.manager.remove(OPS, "grace")

    with pytest.raises(Unavailable):
        await site.issuer.issue(grace, KeyRequest())


async def test_fewer_scopes_end_what_exceeds_them(site: Site) -> None:
    """Keys that the user has made, and its sessions; keys that may do no more stay."""
    grace = await site.make()
    wide, _ = await site.issuer.issue(grace, KeyRequest(scopes=("build", "pull")))
    narrow, _ = await site.issuer.issue(grace, KeyRequest(scopes=("pull",)))
    given, _ = await site.issuer.issue(OPS, KeyRequest(user="grace", scopes=("build",)))

    await site.manager.change(OPS, "grace", AccountChange(scopes=("pull", "keys")), HERE)

    assert set(site.keys.stored) == {narrow.id, given.id}
    assert wide.id not in site.keys.stored
    assert site.ended == ["grace"]


async def test_another_organisation_ends_the_keys_of_the_former_one(site: Site) -> None:
    """They read its records and use its credentials. Keys without an organisation stay."""
    grace = await site.make(organisation="lab")
    await site.issuer.issue(grace, KeyRequest())
    given, _ = await site.issuer.issue(OPS, KeyRequest(user="grace"))

    await site.manager.change(OPS, "grace", AccountChange(organisation="other"), HERE)

    assert set(site.keys.stored) == {given.id}
    assert site.ended == ["grace"]


@pytest.mark.parametrize("end", ["disable", "remove"])
async def test_what_a_killed_gateway_has_left_ends_with_the_next_request(site: Site, end: str) -> None:
    """It was killed after the account was stored as disabled: the same request again revokes keys and sessions."""
    grace = await site.make()
    await site.issuer.issue(grace, KeyRequest())
    site.stored.stored["grace"] = replace(site.stored.stored["grace"], disabled=True)

    if end == "disable":
        await site.manager.change(OPS, "grace", AccountChange(disabled=True), HERE)
    else:
        await site.manager.remove(OPS, "grace")

    assert not site.keys.stored
    assert site.ended == ["grace"]


async def test_an_account_is_deleted_after_its_keys(site: Site) -> None:
    """If the keys cannot be revoked, the account stays, disabled, and can be deleted again."""
    grace = await site.make()
    await site.issuer.issue(grace, KeyRequest())

    async def fail(user: str) -> None:
        raise Unavailable

    begin, site.keys.begin_ending = site.keys.begin_ending, fail  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await site.manager.remove(OPS, "grace")
    with pytest.raises(AccountRequired):
        await site.sign_in("grace")
    site.keys.begin_ending = begin  # type: ignore[method-assign]
    await site.manager.remove(OPS, "grace")

    assert not site.keys.stored and not site.stored.stored


async def test_an_email_address_ends_nothing(site: Site) -> None:
    """Only a password and rights do."""
    await site.make()

    account = await site.manager.change(OPS, "grace", AccountChange(email="g@x.example"), HERE)

    assert account.email == "g@x.example"
    assert site.ended == []


async def test_users_change_their_own_password_only(site: Site) -> None:
    """With the current one: a stolen key or session is not enough."""
    grace = await site.make()
    new = "another password"
    for change, error in (
        (AccountChange(password=new), BadRequest),
        (AccountChange(password=new, current_password="wrong"), BadRequest),
        (AccountChange(password=new, current_password=PASSWORD, scopes=("administer",)), ScopeRequired),
        (AccountChange(disabled=False), ScopeRequired),
    ):
        with pytest.raises(error):
            await site.manager.change(grace, "grace", change, HERE)

    await site.manager.change(grace, "grace", AccountChange(password=new, current_password=PASSWORD), HERE)

    assert (await site.sign_in("grace", new)).name == "grace"


async def test_an_operator_who_sends_the_current_password_sends_the_right_one(site: Site) -> None:
    """As the page of the own account does: the browser of an operator, left open, does not give the account away."""
    root = await site.make("root", scopes=("administer",))
    change = AccountChange(password="another password", current_password="wrong")

    with pytest.raises(BadRequest):
        await site.manager.change(root, "root", change, HERE)
    await site.manager.change(root, "root", replace(change, current_password=PASSWORD), HERE)

    assert (await site.sign_in("root", "another password")).name == "root"


async def test_the_mark_of_an_account_follows_its_rights(site: Site) -> None:
    """Sessions end with it: by a password, scopes, an organisation, and with the account; not by an e-mail address."""
    await site.make()
    marks = [await site.accounts.mark("grace")]
    for change in (
        AccountChange(password="another password"),
        AccountChange(scopes=("keys",)),
        AccountChange(organisation="lab"),
        AccountChange(disabled=True),
    ):
        await site.manager.change(OPS, "grace", change, HERE)
        marks.append(await site.accounts.mark("grace"))
    assert (len(set(marks)), marks[-1]) == (5, None)

    await site.manager.change(OPS, "grace", AccountChange(disabled=False), HERE)
    await site.manager.change(OPS, "grace", AccountChange(email="g@x.example"), HERE)
    assert await site.accounts.mark("grace") == marks[-2]
    await site.manager.remove(OPS, "grace")
    assert [await site.accounts.mark(name) for name in ("grace", "unknown", "a:b")] == [None] * 3
    assert await site.accounts.mark("ops")


async def test_a_stolen_key_guesses_no_password(site: Site) -> None:
    """Each wrong current password counts as a guess of the address."""
    limiter = GuessLimiter(Quota(3, 3600))
    manager = AccountManager(site.stored, site.accounts, site.issuer, site, limiter, lambda: NOON)
    grace = await site.make()
    guesses = [AccountChange(password="another password", current_password=f"guess {each}") for each in range(4)]
    for guess in guesses[:3]:
        with pytest.raises(BadRequest):
            await manager.change(grace, "grace", guess, HERE)

    with pytest.raises(TooManyRequests):
        await manager.change(grace, "grace", guesses[3], HERE)


async def test_users_reach_no_other_account(site: Site) -> None:
    """Nor do they learn which names exist."""
    grace = await site.make()
    await site.make("ada")
    assert (await site.manager.get(grace, "grace")).name == "grace"

    for name in ("ada", "unknown", "../x"):
        with pytest.raises(NotFound):
            await site.manager.get(grace, name)
        with pytest.raises(NotFound):
            await site.manager.change(grace, name, AccountChange(password=PASSWORD, current_password=PASSWORD), HERE)
    with pytest.raises(ScopeRequired):
        await site.manager.remove(grace, "ada")
    with pytest.raises(ScopeRequired):
        await site.manager.list(grace, None, None)
    with pytest.raises(ScopeRequired):
        await site.manager.create(grace, AccountRequest(name="mallory"), HERE)


async def test_an_unknown_name_is_verified_like_a_known_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wrong pair costs one verification, whether the name is in the file, in the store, disabled or nowhere."""
    await site.make()
    await site.make("gone")
    await site.manager.change(OPS, "gone", AccountChange(disabled=True), HERE)
    checked: list[bytes] = []
    monkeypatch.setattr(module, "_DECOY", bcrypt.hashpw(b"decoy", bcrypt.gensalt(4)))
    verify = bcrypt.checkpw

    def counted(given: bytes, hashed: bytes) -> bool:
        checked.append(given)
        return verify(given, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counted)

    for name in ("ops", "grace", "gone", "nobody", "a b"):
        with pytest.raises(AccountRequired):
            await site.sign_in(name, f"wrong of {name}")

    assert len(checked) == 5
