"""Browsers sign in with the name and the password of an account, and operators manage accounts, over HTTP."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote, urlencode

import aiohttp
import bcrypt
import pytest
from msgspec.structs import replace

from gateway.access.accounts import accounts as module
from gateway.access.accounts.accounts import Accounts
from gateway.domain.access.account import Account
from gateway.domain.access.identity import USER_SCOPES, Scope
from gateway.domain.quota import Quota
from swell.net.http import listening
from swell.serve import Address
from swell_embedded.ports import Ports
from tests.integration.gateway.harness import Answer, Client, Harness
from tests.unit.gateway.doubles import NOON

SIGN_IN, ACCOUNTS = "/auth/password", "/view/operator/accounts"
GRACE, ROOT, OPS = ("grace", "grace's long password"), ("root", "root's long password"), ("ops", " of the file ")
FORM = "application/x-www-form-urlencoded"


class Browser(Client):
    """A browser that keeps cookies, sends `Origin`, and takes the CSRF token from the page that it sees."""

    page = ""

    async def open(self, path: str) -> Answer:
        answer = await self.get(path)
        self.page = answer.body.decode()
        return answer

    def token(self, action: str) -> str:
        """The CSRF token of the form that is sent to *action*."""
        form = self.page.partition(f'action="{action}"')[2]
        found = re.search(r'name="csrf_token" value="([0-9a-f]{48})"', form)
        return found[1] if found else ""

    async def send(self, action: str, *further: str, **fields: str) -> Answer:
        """Send the form of the page that is open, with the boxes *further* ticked."""
        return await self.send_from({"Origin": self.url}, action, *further, **fields)

    async def send_from(self, origin: dict[str, str], action: str, *further: str, **fields: str) -> Answer:
        """As `send`, with other header fields that say where the form comes from."""
        fields = {"csrf_token": self.token(action)} | fields | dict.fromkeys(further, "on")
        own = {"Content-Type": FORM} | origin
        answer = await self.ask("POST", action, urlencode(fields).encode(), **own)
        self.page = answer.body.decode()
        return answer

    async def sign_in(self, name: str, password: str, following: str = "/view/account") -> Answer:
        await self.open(f"{SIGN_IN}?next={quote(following)}")
        return await self.send(SIGN_IN, name=name, password=password, next=following)

    @property
    async def user(self) -> str | None:
        answer = await self.get("/auth/session")
        return str(answer.json["user"]) if answer.status == 200 else None


def account(name: str, password: str, *scopes: Scope) -> Account:
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    return Account(name=name, hash=hashed, created=NOON, created_by="ops", scopes=frozenset(scopes) or USER_SCOPES)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Harness:
    monkeypatch.setattr(module, "_COST", 4)
    monkeypatch.setattr(module, "_DECOY", bcrypt.hashpw(b"decoy", bcrypt.gensalt(4)))
    harness = Harness()
    for each in (account(*GRACE), account(*ROOT, *USER_SCOPES, Scope.ADMINISTER)):
        harness.stored_accounts.stored[each.name] = each
    file = {b"ops": bcrypt.hashpw(OPS[1].encode(), bcrypt.gensalt(4))}
    harness.accounts = Accounts(file, harness.stored_accounts)
    return harness


@asynccontextmanager
async def browsing(url: str) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield Browser(session, url)


@pytest.fixture
async def browser(harness: Harness) -> AsyncIterator[Browser]:
    where = Address("127.0.0.1", Ports.free().gateway)
    url = f"http://{where.host}:{where.port}"
    async with listening(harness.app(url), where), browsing(url) as opened:
        yield opened


@pytest.mark.parametrize("login", [GRACE, ROOT, OPS], ids=lambda login: login[0])
async def test_an_account_signs_in_and_out(browser: Browser, login: tuple[str, str]) -> None:
    """Stored accounts and operators of the file; a password keeps its spaces. Only operators get their pages."""
    answer = await browser.sign_in(*login)

    assert (answer.status, answer.headers["location"]) == (303, "/view/account")
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert await browser.user == login[0]
    assert (await browser.get(ACCOUNTS)).status == (403 if login is GRACE else 200)
    await browser.open("/view/account")
    assert (await browser.send("/auth/logout")).status == 303
    assert await browser.user is None


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("grace", "wrong password"),
        ("grace", GRACE[1] + " "),
        ("unknown", GRACE[1]),
        ("", ""),
        ("grace:", GRACE[1]),
        ("grace", "x" * 100_000),
        ("x" * 100_000, "y"),
        ("<script>alert(1)</script>", "z"),
        ("\x00", "\x00"),
    ],
)
async def test_other_names_and_passwords_are_refused(browser: Browser, name: str, password: str) -> None:
    """With one message for all, as a page with the form, whose values are escaped and never include the password."""
    answer = await browser.sign_in(name, password)

    assert answer.status == 401
    assert "The name or the password is wrong" in browser.page
    assert browser.token(SIGN_IN)
    assert "<script>alert" not in browser.page and (len(password) < 12 or password not in browser.page)
    assert await browser.user is None


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": ""}],
)
async def test_another_site_does_not_sign_a_browser_in(browser: Browser, headers: dict[str, str]) -> None:
    """Its visitor would work in the account of the attacker."""
    await browser.open(SIGN_IN)

    answer = await browser.send_from(headers, SIGN_IN, name=GRACE[0], password=GRACE[1])

    assert answer.status == 403
    assert await browser.user is None


async def test_a_form_needs_the_token_of_its_cookie(browser: Browser) -> None:
    """A token of another browser, a wrong one, and none; without the cookie, the form is shown again."""
    login = {"name": GRACE[0], "password": GRACE[1]}
    await browser.open(SIGN_IN)
    page = browser.page
    async with browsing(browser.url) as other:
        await other.open(SIGN_IN)
        for token in (other.token(SIGN_IN), "0" * 48, ""):
            browser.page = page
            assert (await browser.send(SIGN_IN, csrf_token=token, **login)).status == 403

        other.session.cookie_jar.clear()
        again = await other.send(SIGN_IN, **login)
        assert again.status == 400 and "does not accept cookies" in other.page
        assert (await other.send(SIGN_IN, **login)).status == 303
    assert await browser.user is None


@pytest.mark.parametrize("following", ["//evil.example", "https://evil.example", "/\\evil.example", "x", "/a\nb"])
async def test_a_sign_in_leads_to_this_server_only(browser: Browser, following: str) -> None:
    """A link to the form must not be a way to another site."""
    answer = await browser.sign_in(*GRACE, following=following)

    assert (answer.status, answer.headers["location"]) == (303, "/")


async def test_guesses_in_the_form_are_limited(harness: Harness, browser: Browser) -> None:
    """They count with those in the header `Authorization`; a password that is known works on."""
    await browser.sign_in(*GRACE)
    await browser.open("/view/account")
    await browser.send("/auth/logout")
    harness.guess_limiter._quota = Quota(3, 3600)
    harness.guess_limiter.remember(f"account {module.basic(*GRACE)}")

    statuses = [(await browser.sign_in("grace", f"guess number {each}")).status for each in range(5)]

    assert statuses == [401, 401, 401, 429, 429]
    header = await browser.ask("GET", "/v1alpha2/keys", Authorization=module.basic("grace", "guess number 5"))
    assert header.status == 429
    assert (await browser.sign_in(*GRACE)).status == 303


async def test_a_sign_in_ends_the_former_session(harness: Harness, browser: Browser) -> None:
    """A session that another person has planted in the browser does not go on."""
    await browser.sign_in(*GRACE)
    [planted] = harness.sessions.stored
    await browser.sign_in(*ROOT)

    assert planted not in harness.sessions.stored
    assert await browser.user == "root"


async def test_a_password_that_changes_meanwhile_opens_nothing(harness: Harness, browser: Browser) -> None:
    """The account is changed while its password is verified: the session that begins has ended."""
    verify = harness.accounts.check

    async def slow(*parts: bytes | str) -> object:
        actor = await verify(*parts)  # type: ignore[arg-type]
        grace = harness.stored_accounts.stored["grace"]
        harness.stored_accounts.stored["grace"] = replace(grace, hash=account("grace", "another password").hash)
        return actor

    harness.accounts.check = slow  # type: ignore[assignment,method-assign]
    await browser.sign_in(*GRACE)

    assert await browser.user is None


async def test_an_operator_manages_accounts(browser: Browser) -> None:
    """Make, disable, enable, reset and delete; passwords that the server chooses are shown once."""
    await browser.sign_in(*ROOT)
    await browser.open(ACCOUNTS)
    made = await browser.send(ACCOUNTS, "may-keys", name="cleo", email="c@x.example", organisation="lab")
    shown = re.search(r'id="new-password">([^<]+)<', browser.page)
    assert made.status == 200 and shown
    await browser.open(ACCOUNTS)
    assert shown[1] not in browser.page and "cleo" in browser.page

    async with browsing(browser.url) as cleo:
        assert (await cleo.sign_in("cleo", shown[1])).status == 303
        for change, after in (("disable", None), ("enable", None)):
            assert (await browser.send(f"{ACCOUNTS}/cleo/{change}", csrf_token=browser.token(ACCOUNTS))).status == 303
            await browser.open(ACCOUNTS)
            assert await cleo.user == after, change
        assert (await cleo.sign_in("cleo", shown[1])).status == 303
        await browser.send(f"{ACCOUNTS}/cleo/reset")
        new = re.search(r'id="new-password">([^<]+)<', browser.page)
        assert new and await cleo.user is None
        assert (await cleo.sign_in("cleo", shown[1])).status == 401
        assert (await cleo.sign_in("cleo", new[1])).status == 303
        assert (await browser.send(f"{ACCOUNTS}/cleo/delete")).status == 303
        assert (await cleo.sign_in("cleo", new[1])).status == 401


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "grace"}, "has an account already"),
        ({"name": "a b"}, "name"),
        ({"name": "dora", "password": "short-secret"[:9]}, "at least 12 characters"),
    ],
)
async def test_a_wrong_form_is_shown_again(browser: Browser, fields: dict[str, str], message: str) -> None:
    """With what is wrong, what was typed, and without the password."""
    await browser.sign_in(*ROOT)
    await browser.open(ACCOUNTS)

    answer = await browser.send(ACCOUNTS, "may-keys", **fields)

    assert answer.status == 400
    assert message in browser.page and "short-sec" not in browser.page
    assert f'value="{fields["name"]}"' in browser.page
    assert (await browser.send(ACCOUNTS, name="dora")).status == 400
    assert "copes is empty" in browser.page


async def test_users_and_other_sites_manage_no_accounts(harness: Harness, browser: Browser) -> None:
    """A user is refused; the form of another site, too, although the operator has signed in."""
    before = dict(harness.stored_accounts.stored)
    paths = (ACCOUNTS, *(f"{ACCOUNTS}/root/{change}" for change in ("disable", "enable", "reset", "delete")))
    await browser.sign_in(*GRACE)
    await browser.open("/view/account")
    token = browser.token("/view/account")
    for path in paths:
        assert (await browser.send(path, "may-administer", csrf_token=token, name="eve")).status == 403, path
    await browser.sign_in(*ROOT)
    await browser.open(ACCOUNTS)
    token = browser.token(ACCOUNTS)
    for path in paths:
        for shown, origin in (("0" * 48, browser.url), (token, "https://evil.example")):
            sent = await browser.send_from({"Origin": origin}, path, "may-administer", csrf_token=shown, name="eve")
            assert sent.status == 403, path

    assert harness.stored_accounts.stored == before


async def test_a_user_sets_another_password(browser: Browser) -> None:
    """With the current one; the session ends, so the user signs in again."""
    for login in (GRACE, ROOT):
        await browser.sign_in(*login)
        await browser.open("/view/account")
        assert (await browser.send("/view/account", currentPassword="wrong", password="another password")).status == 400
        answer = await browser.send("/view/account", currentPassword=login[1], password="another password")
        assert answer.status == 200 and await browser.user is None
        assert (await browser.sign_in(*login)).status == 401
        assert (await browser.sign_in(login[0], "another password")).status == 303


async def test_who_has_no_stored_account_has_no_form(browser: Browser) -> None:
    """The password of an operator of the file is in the file."""
    await browser.sign_in(*OPS)

    assert b"has no account on this server" in (await browser.open("/view/account")).body


async def test_an_ended_session_does_not_build_as_an_anonymous_client(harness: Harness, browser: Browser) -> None:
    """Its user gets the form back, with the reason; pages can still be read, and the browser can sign out."""
    await browser.sign_in(*GRACE)
    await browser.open("/build")
    await harness.sessions.end_all("grace")

    refused = await browser.send("/build", recipe="FROM a:1")

    assert refused.status == 401
    assert "session of this browser has ended" in browser.page and "FROM a:1" in browser.page
    assert (await browser.open("/build")).status == 200
    assert (await browser.send("/auth/logout")).status == 303
    await browser.open("/build")
    assert (await browser.send("/build", recipe="FROM a:1")).status == 303
