"""A user signs in with Chromium, manages keys, builds and credentials, and signs out."""

import json
from base64 import b64decode

from playwright.async_api import Page, expect

from swell.testing.oidc_issuer import OidcIssuer
from tests.e2e.access.test_sign_in import issuer, swell
from tests.e2e.browser import check, new_page, open_browser
from tests.e2e.client import Swell
from tests.e2e.raw import ask
from tests.e2e.upstreams import Upstreams

__all__ = ["issuer", "swell"]  # fixtures


async def store(page: Page, registry: str, user: str, password: str) -> None:
    await page.get_by_label("Registry").fill(registry)
    await page.get_by_label("User name there").fill(user)
    await page.get_by_label("Password or token").fill(password)
    await page.get_by_role("button", name="Check and store").click()


async def test_a_user_signs_in_and_manages_what_is_theirs(
    swell: Swell, issuer: OidcIssuer, upstreams: Upstreams
) -> None:
    """Keys, builds and credentials, all in the pages, whose forms have the CSRF token of the session."""
    entry = json.loads(upstreams.auth_file.read_text())["auths"][upstreams.basic]["auth"]
    user, _, password = b64decode(entry).decode().partition(":")
    async with open_browser() as browser, new_page(browser, swell.url, issuer.url) as page:
        await page.goto("/view/keys")
        await check(page, "sign-in")
        await page.get_by_role("link", name="Sign in with your organisation").click()
        await expect(page.locator(".eyebrow")).to_have_text("User oidc:lab:ada")

        await page.get_by_label("Name").fill("my laptop")
        await page.get_by_label("inspect").check()
        await page.get_by_role("button", name="Make the key").click()
        key = await page.locator("#new-key").text_content()
        await check(page, "my-keys")
        answer = await ask(
            swell, "POST", "/v1alpha1/inspect", b'{"containerImage": "a:b:c"}', Authorization=f"Bearer {key}"
        )
        assert answer.status == 400, answer.body
        await page.get_by_role("button", name="Revoke my laptop").click()
        await expect(page.locator("main")).to_contain_text("There are no keys yet.")

        await page.goto("/build")
        await page.get_by_label("Container file", exact=True).fill(f"FROM {upstreams.image()}\nLABEL by=ada\n")
        await page.get_by_role("button", name="Build", exact=True).click()
        await page.get_by_role("link", name="My builds").click()
        await expect(page.locator("tbody tr")).to_have_count(1)
        await check(page, "my-builds")

        await page.get_by_role("link", name="Credentials").click()
        await store(page, upstreams.basic, user, "wrong")
        await expect(page.get_by_role("alert")).to_contain_text("does not accept")
        await store(page, upstreams.basic, user, password)
        await expect(page.locator("tbody tr")).to_contain_text(upstreams.basic)
        assert password not in await page.content()
        await check(page, "my-credentials")
        await page.get_by_role("button", name="Delete").click()
        await expect(page.locator("main")).to_contain_text("There are no credentials yet.")
        await page.get_by_role("button", name="Sign out").click()

        await page.goto("/view/keys")
        await expect(page.locator("h1")).to_have_text("Sign in")
