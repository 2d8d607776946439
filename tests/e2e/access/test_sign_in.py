"""Browsers sign in at an issuer, with a real gateway, Redis and issuer; attacks on the sign-in and on the session."""

import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from yarl import URL

from swell.store.connections import redis
from swell.testing.oidc_issuer import CLIENT, CLIENT_SECRET, OidcIssuer, serving_issuer
from swell_embedded.stack import Stack
from tests.e2e.client import Swell, client_of
from tests.e2e.environment import gateway_beside
from tests.e2e.operate.test_operator_pages import FORMS as OPERATOR_FORMS
from tests.e2e.raw import SUBMIT, ask
from tests.e2e.secrets_used import secret
from tests.e2e.upstreams import running

CALLBACK = "/auth/callback"


class Browser:
    """A browser with cookies, which follows redirects only when a test says so. It sends `Origin` as browsers do."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def go(self, url: str, method: str = "GET", **options: Any) -> tuple[int, str, str]:
        """Return the status, the `Location` and the body."""
        target = url if url.startswith("http") else self.url + url
        if method != "GET":
            options["headers"] = {"Origin": self.url} | options.get("headers", {})
        async with self.session.request(method, target, allow_redirects=False, **options) as response:
            return response.status, response.headers.get("Location", ""), await response.text()

    async def begin(self, following: str = "/") -> str:
        """Begin a sign-in; return the address at the issuer."""
        status, location, _ = await self.go(f"/auth/login?next={following}")
        assert status == 302
        return location

    async def sign_in(self, following: str = "/") -> tuple[str, str]:
        """Sign in; return the address of the callback, and where it leads to."""
        _, back, _ = await self.go(await self.begin(following))
        status, location, body = await self.go(back)
        assert status == 303, body
        secret("session", self.cookies.get("swell_session", ""))
        secret("code", str(URL(back).query.get("code", "")))
        return back, location

    async def token(self) -> str:
        """The CSRF token of the session."""
        status, _, body = await self.go("/auth/session")
        assert status == 200
        return secret("CSRF token", str(json.loads(body)["csrfToken"]))

    @property
    def cookies(self) -> dict[str, str]:
        return {name: each.value for name, each in self.session.cookie_jar.filter_cookies(URL(self.url)).items()}


@pytest.fixture(scope="module")
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with serving_issuer() as served:
        yield served


@pytest.fixture(scope="module")
async def swell(stack: Stack, issuer: OidcIssuer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Swell]:
    """A gateway whose users sign in at *issuer*."""
    home: Path = tmp_path_factory.mktemp("sign-in")
    (home / "secret").write_text(CLIENT_SECRET)
    (home / "issuers.toml").write_text(
        f'[[issuer]]\nname = "lab"\nurl = "{issuer.url}"\nrequired = {{ sub = "ada*" }}\n'
        f'client_id = "{CLIENT}"\nclient_secret_file = "{home}/secret"\n'
        '[[issuer.rule]]\nwhen = { sub = "ada-operator" }\nscopes = ["administer"]\n'
    )
    url, program = gateway_beside(stack, "gateway", OIDC_ISSUERS_FILE=str(home / "issuers.toml"))
    async with running(program, home), client_of(url) as client:
        yield client


@asynccontextmanager
async def new_browser(url: str) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield Browser(session, url)


@pytest.fixture
async def browser(swell: Swell) -> AsyncIterator[Browser]:
    async with new_browser(swell.url) as opened:
        yield opened


@pytest.fixture
async def state(stack: Stack) -> AsyncIterator[Redis]:
    async with redis.connect(stack.env["SWELL_REDIS_URL"]) as connected:
        yield connected


async def test_a_user_signs_in_and_out(browser: Browser) -> None:
    """The session says who it is; after the sign-out it has no user, also with the former cookie."""
    _, location = await browser.sign_in("/view/scans")
    status, _, body = await browser.go("/auth/session")
    user = json.loads(body)
    former = browser.cookies

    assert location == "/view/scans"
    assert (status, user["user"], user["email"]) == (200, "oidc:lab:ada", "ada@example.org")
    assert (await browser.go("/auth/logout", "POST", data={"csrf_token": user["csrfToken"]}))[0] == 303
    assert (await browser.go("/auth/session"))[0] == 401
    assert (await browser.go("/auth/session", cookies=former))[0] == 401


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(browser: Browser) -> None:
    """HttpOnly and SameSite=Lax; `Secure` needs https."""
    _, back, _ = await browser.go(await browser.begin())
    async with browser.session.get(back, allow_redirects=False) as response:
        [cookie] = [each for each in response.headers.getall("Set-Cookie") if each.startswith("swell_session=")]

    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/"} <= attributes
    assert not any(each.startswith("domain") for each in attributes)


async def test_redis_does_not_have_the_secret_of_the_session(browser: Browser, state: Redis) -> None:
    """A copy of Redis opens no session."""
    await browser.sign_in()
    secret = browser.cookies["swell_session"]

    async for key in state.scan_iter("swell:*"):
        assert secret.encode() not in key
        if await state.type(key) == b"string":
            assert secret.encode() not in (await state.get(key) or b"")


async def test_a_callback_is_used_once(browser: Browser, issuer: OidcIssuer) -> None:
    """A replayed address, from a log or the history of the browser, signs no user in: state and code are used up."""
    before = browser.cookies
    _, back, _ = await browser.go(await browser.begin())
    kept = dict(browser.cookies)
    assert (await browser.go(back))[0] == 303
    exchanged = issuer.requests["/token"]

    status, _, body = await browser.go(back, cookies=kept)

    assert (status, before) == (403, {})
    assert "completed already" in body
    assert issuer.requests["/token"] == exchanged


async def test_a_used_code_is_refused_by_the_issuer(browser: Browser) -> None:
    """With a new state, but an old code."""
    back, _ = await browser.sign_in()
    old = URL(back).query["code"]
    _, new, _ = await browser.go(await browser.begin())

    status, _, body = await browser.go(str(URL(new).update_query(code=old)))

    assert status == 403
    assert "does not accept the code" in body


async def test_a_sign_in_belongs_to_its_browser(browser: Browser, swell: Swell) -> None:
    """An attacker sends his own callback to a victim, who would work in the account of the attacker."""
    async with new_browser(swell.url) as attacker:
        _, back, _ = await attacker.go(await attacker.begin())
        assert (await browser.go(back))[0] == 403
        await browser.begin()

        status, _, body = await browser.go(back)

    assert status == 403
    assert "not begun in this browser" in body
    assert (await browser.go("/auth/session"))[0] == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": [CLIENT, "another-client"], "azp": "another-client"},
        {"iss": "https://evil.example.org"},
        {"exp": 1},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
        {"sub": "mallory"},
    ],
)
async def test_an_id_token_of_another_sign_in_is_refused(
    browser: Browser, issuer: OidcIssuer, changes: dict[str, Any]
) -> None:
    """Replayed, issued to another client, expired, or of a user whom the operator does not accept."""
    issuer.id_token_changes = changes
    try:
        _, back, _ = await browser.go(await browser.begin())
        status, _, _ = await browser.go(back)
    finally:
        issuer.id_token_changes = {}

    assert status == 403
    assert (await browser.go("/auth/session"))[0] == 401


async def test_an_answer_of_another_issuer_is_refused(browser: Browser) -> None:
    """The mix-up attack of RFC 9207."""
    _, back, _ = await browser.go(await browser.begin())

    for changed in (URL(back).update_query(iss="https://evil.example.org"), URL(back).without_query_params("iss")):
        assert (await browser.go(str(changed)))[0] == 403


async def test_a_refusal_of_the_issuer_is_a_page(browser: Browser) -> None:
    """The text of the answer is shown, escaped."""
    begun = URL(await browser.begin())
    query = {"error": "<script>denied", "state": begun.query["state"], "iss": str(begun.origin())}

    status, _, body = await browser.go(f"{CALLBACK}?" + URL.build(query=query).query_string)

    assert status == 403
    assert "denied" in body and "<script>denied" not in body


@pytest.mark.parametrize("following", ["//evil.example.org", "https://evil.example.org", "/\\evil.example.org", "x"])
async def test_a_sign_in_leads_to_this_server_only(browser: Browser, following: str) -> None:
    """A link to the sign-in must not be a way to another site."""
    _, location = await browser.sign_in(following)

    assert location == "/"


@pytest.mark.parametrize(
    ("headers", "has_token"),
    [
        ({"Origin": "https://evil.example.org"}, True),
        ({"Origin": "null"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Origin": ""}, True),
        ({}, False),
        ({"X-CSRF-Token": "0" * 48}, False),
    ],
)
async def test_a_request_of_another_site_is_refused(
    browser: Browser, headers: dict[str, str], *, has_token: bool
) -> None:
    """Without the CSRF token, or from another origin, the cookie gives no right to change anything."""
    await browser.sign_in()
    if has_token:
        headers = headers | {"X-CSRF-Token": await browser.token()}

    for method, path in (("POST", SUBMIT), ("POST", "/v1alpha2/keys"), ("DELETE", "/auth/sessions")):
        status, _, body = await browser.go(path, method, json={"containerImage": "x"}, headers=headers)
        assert (status, json.loads(body)["code"]) == (403, "FORBIDDEN"), (path, body)
    assert (await browser.go("/auth/session"))[0] == 200


@pytest.mark.parametrize("path", OPERATOR_FORMS)
@pytest.mark.parametrize("method", ["form", "header"])
async def test_a_form_of_another_site_does_not_act_for_an_operator(
    browser: Browser, issuer: OidcIssuer, method: str, path: str
) -> None:
    """An operator who has signed in sends the pages of the operator only with the CSRF token of the session."""
    issuer.id_token_changes = {"sub": "ada-operator"}
    try:
        await browser.sign_in()
    finally:
        issuer.id_token_changes = {}
    token = await browser.token()
    assert (await browser.go("/view/operator"))[0] == 200

    def sent(token: str) -> dict[str, Any]:
        return {"data": {"csrf_token": token}} if method == "form" else {"data": {}, "headers": {"X-CSRF-Token": token}}

    forged = await browser.go(f"/view/operator{path}", "POST", **sent("0" * len(token)))
    without = await browser.go(f"/view/operator{path}", "POST", data={})
    foreign = await browser.go(
        f"/view/operator{path}", "POST", data={"csrf_token": token}, headers={"Origin": "https://evil.example.org"}
    )
    own = await browser.go(f"/view/operator{path}", "POST", **sent(token))

    assert (forged[0], without[0], foreign[0]) == (403, 403, 403)
    assert own[0] != 403


async def test_a_page_of_this_server_may_change_things(browser: Browser, swell: Swell) -> None:
    """With the token and its own origin, a session makes an API key; a bearer needs neither."""
    await browser.sign_in()
    headers = {"X-CSRF-Token": await browser.token()}

    status, _, body = await browser.go("/v1alpha2/keys", "POST", json={"name": "laptop"}, headers=headers)

    assert status == 201, body
    key = json.loads(body)["key"]
    answer = await ask(swell, "GET", "/v1alpha2/keys", None, Authorization=f"Bearer {key}")
    assert answer.status in {200, 403}
    revoked = await browser.go(f"/v1alpha2/keys/{json.loads(body)['id']}", "DELETE", headers=headers)
    assert revoked[0] == 200


async def test_all_sessions_of_a_user_end_together(browser: Browser, swell: Swell) -> None:
    """After a laptop was stolen."""
    await browser.sign_in()
    async with new_browser(swell.url) as other:
        await other.sign_in()
        headers = {"X-CSRF-Token": await other.token()}
        status, _, body = await other.go("/auth/sessions", "DELETE", headers=headers)

        assert status == 200 and json.loads(body)["ended"] >= 2
        assert (await other.go("/auth/session"))[0] == (await browser.go("/auth/session"))[0] == 401


async def test_a_forged_cookie_signs_no_user_in(browser: Browser) -> None:
    """Wrong forms, and a secret that does not exist."""
    for value in ("", "x", "A" * 43, "A" * 5000, base64.urlsafe_b64encode(b"\0" * 32).decode()):
        assert (await browser.go("/auth/session", cookies={"swell_session": value}))[0] == 401
    for value in ("", "x", "A" * 43, "A" * 43 + ".1.", "A" * 43 + ".x.x", "A" * 43 + ".99999999999999.x"):
        status, _, _ = await browser.go(f"{CALLBACK}?code=a&state=b", cookies={"swell_sign_in": value})
        assert status == 403


async def test_a_job_pulls_with_its_token(swell: Swell, issuer: OidcIssuer) -> None:
    """The same issuer gives tokens to jobs: they work as API keys. Wrong ones are refused with the reason."""
    good = issuer.token(swell.url, sub="ada-job")
    for token, status, reason in (
        (good, 200, ""),
        (issuer.token(swell.url, sub="ada", exp=1), 401, "expired"),
        (issuer.token(swell.url, sub="mallory"), 401, "sub"),
        (issuer.unsigned(swell.url), 401, "may not be signed with"),
    ):
        answer = await ask(swell, "GET", "/v1alpha2/keys", None, Authorization=f"Bearer {token}")
        assert answer.status == status, answer.body
        assert re.search(reason, answer.body.decode())
