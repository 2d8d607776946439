"""A user signs in with Chromium, makes an API key that works, and signs out."""

from playwright.async_api import expect

from swell.testing.oidc_issuer import OidcIssuer
from tests.e2e.browser import check, new_page, open_browser
from tests.e2e.client import Swell
from tests.e2e.raw import ask
from tests.e2e.test_sign_in import issuer, swell

__all__ = ["issuer", "swell"]  # fixtures


async def test_a_user_signs_in_makes_a_key_and_signs_out(swell: Swell, issuer: OidcIssuer) -> None:
    """All of it in the pages, whose forms have the CSRF token of the session."""
    async with open_browser() as browser, new_page(browser, swell.url, issuer.url) as page:
        await page.goto("/view/keys")
        await check(page, "sign-in")
        await page.get_by_role("link", name="Sign in").click()
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
        await page.get_by_role("button", name="Sign out").click()

        await page.goto("/view/keys")
        await expect(page.locator("h1")).to_have_text("Sign in")
