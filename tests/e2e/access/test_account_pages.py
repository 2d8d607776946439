"""Operators manage accounts, and users sign in with a password, in Chromium."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, expect

from swell_embedded.stack import Stack
from tests.e2e.browser import check, new_page, open_browser
from tests.e2e.client import Swell
from tests.e2e.raw import LOGIN, ask, operated_beside
from tests.e2e.secrets_used import secret


@pytest.fixture(scope="module")
async def operated(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Swell]:
    async with operated_beside(stack, tmp_path_factory.mktemp("accounts")) as client:
        yield client


async def sign_in(page: Page, name: str, password: str) -> None:
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("main").get_by_role("button", name="Sign in").click()


async def test_an_operator_gives_a_user_an_account(operated: Swell) -> None:
    """The operator makes, resets, disables and deletes it; the user signs in, also without scripts, and makes a key."""
    async with open_browser() as browser, new_page(browser, operated.url) as page:
        await page.goto("/")
        await page.get_by_role("link", name="Sign in").click()
        await sign_in(page, "ops", "wrong")
        await expect(page.get_by_role("alert")).to_contain_text("The name or the password is wrong")
        await check(page, "sign-in-refused")
        await sign_in(page, "ops", "pw")
        await page.get_by_role("link", name="Operator").click()
        await page.get_by_role("link", name="Accounts").click()
        await page.get_by_label("Name").fill("grace-of-pages")
        await page.get_by_label("E-mail").fill("grace@lab.example")
        await page.get_by_label("Organisation").fill("lab")
        await page.get_by_role("button", name="Make the account").click()
        password = secret("password of a page", await page.locator("#new-password").inner_text())
        await check(page, "operator-accounts")
        row = page.locator("tbody tr").filter(has_text="grace-of-pages")

        async with new_page(browser, operated.url, java_script_enabled=False) as own:
            await own.goto("/view/keys")
            await sign_in(own, "grace-of-pages", password)
            await expect(own.locator(".eyebrow")).to_have_text("User grace-of-pages")
            await own.get_by_label("Name").fill("laptop")
            await own.get_by_role("button", name="Make the key").click()
            key = secret("key of a page", await own.locator("#new-key").inner_text())
            await own.get_by_role("link", name="Account").click()
            await own.get_by_label("Current password").fill(password)
            await own.get_by_label("New password").fill(secret("password", "of grace's own choice"))
            await own.get_by_role("button", name="Set the password").click()
            await sign_in(own, "grace-of-pages", "of grace's own choice")
            await expect(own.locator("h1")).to_have_text("My account")

            listed = await ask(operated, "GET", "/v1alpha2/keys", None, Authorization=f"Bearer {key}")
            assert listed.status == 403, "the key lives, and may not manage keys"
            await row.get_by_role("button", name="Disable").click()
            await expect(row.locator(".badge")).to_have_text("disabled")
            await own.reload()
            await expect(own.locator("h1")).to_have_text("Sign in")
        await row.get_by_role("button", name="New password").click()
        secret("password of a page", await page.locator("#new-password").inner_text())
        await row.locator("summary").click()
        await row.get_by_role("button", name="Delete grace-of-pages").click()
        await expect(row).to_have_count(0)
        await page.get_by_role("link", name="Account", exact=True).click()
        await check(page, "account-of-the-file")
        await page.get_by_role("button", name="Sign out").click()
    assert (await ask(operated, "GET", "/v1alpha2/accounts/grace-of-pages", None, **LOGIN)).status == 404


async def test_the_page_of_the_own_account_is_accessible(operated: Swell) -> None:
    """The form for another password, which is shown again with what is wrong."""
    made = (await ask(operated, "POST", "/v1alpha2/accounts", {"name": "heidi-of-pages"}, **LOGIN)).json
    async with open_browser() as browser, new_page(browser, operated.url) as page:
        await page.goto("/view/account")
        await check(page, "sign-in-with-a-password")
        await sign_in(page, "heidi-of-pages", made["password"])
        await page.get_by_label("Current password").fill("wrong")
        await page.get_by_label("New password").fill(secret("password", "of heidi's own choice"))
        await page.get_by_role("button", name="Set the password").click()
        await expect(page.get_by_role("alert")).to_contain_text("is not the password of this account")
        await check(page, "my-account")
