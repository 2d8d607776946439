"""The pages for operators in Chromium, and who gets them."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Locator, Page, expect

from swell.jobs import streams
from swell_embedded.stack import Stack
from tests.e2e.browser import check, new_page, open_browser
from tests.e2e.client import PLAIN, Swell, until
from tests.e2e.raw import LOGIN, ask, operated_beside
from tests.e2e.test_pages import HOSTILE
from tests.e2e.upstreams import Upstreams

PATHS = ("", "/workers", "/registries", "/dead-letters", "/tokens", "/audit", "/accounts")
FORMS = (
    "/workers/x/drain",
    "/dead-letters/1/replay",
    "/dead-letters/1/discard",
    "/tokens",
    "/accounts",
    "/accounts/x/disable",
)
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
async def operated(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Swell]:
    async with operated_beside(stack, tmp_path_factory.mktemp("operated")) as client:
        yield client


@pytest.fixture
async def page(operated: Swell) -> AsyncIterator[Page]:
    login = {"username": "ops", "password": "pw"}
    async with open_browser() as browser, new_page(browser, operated.url, http_credentials=login) as page:
        yield page


async def reloaded_until(page: Page, element: Locator) -> None:
    """Load the page again until it has *element*: what it shows arrives in the background."""

    async def look() -> bool:
        await page.reload()
        return await element.is_visible()

    await until(look)


async def test_only_operators_get_the_pages(operated: Swell) -> None:
    """Browsers ask strangers for a password; users are refused. Forms of other sites are refused to operators, too."""
    user = {"Authorization": f"Bearer {PLAIN}"}
    for path in (f"/view/operator{each}" for each in PATHS):
        stranger = await ask(operated, "GET", path)
        assert (stranger.status, "Basic" in stranger.headers["WWW-Authenticate"]) == (401, True), path
        assert (await ask(operated, "GET", path, None, **user)).status == 403, path
    for path in (f"/view/operator{each}" for each in FORMS):
        own = {"Content-Type": FORM, "Origin": operated.url}
        assert (await ask(operated, "POST", path, b"", **own)).status == 401, path
        assert (await ask(operated, "POST", path, b"", **own, **user)).status == 403, path
        foreign = own | {"Origin": "http://evil.example"}
        assert (await ask(operated, "POST", path, b"", **foreign, **LOGIN)).status == 403, path


async def test_an_operator_looks_after_the_server(
    page: Page, operated: Swell, stack: Stack, upstreams: Upstreams
) -> None:
    """Queue, workers, registries, dead letters, tokens and audit trail, from one page to the next."""
    answer = await operated.build(f"FROM {upstreams.image()}\nRUN sleep 120\n")
    await page.goto("/")
    await page.get_by_role("link", name="Operator").click()
    await expect(page.locator("tbody tr").first).to_be_visible()
    await page.goto(f"/view/operator?cursor=0&client={HOSTILE.replace('/', '%2F')}")
    await expect(page.locator("main")).to_contain_text("No build waits or runs")
    await page.goto("/view/operator")
    await check(page, "operator-queue")
    await operated.post(f"/v1alpha1/builds/{answer['buildId']}/cancel", requestId=answer["requestId"])

    await page.get_by_role("link", name="Workers").click()
    builder = page.locator("tbody tr").filter(has_text="builder")
    await expect(builder).to_contain_text("linux/amd64")
    await check(page, "operator-workers")
    await builder.get_by_role("button", name="Drain").click()
    await expect(builder.locator(".badge")).to_have_text("drained")
    await builder.get_by_role("button", name="Resume").click()
    await expect(builder.locator(".badge")).to_have_text("works")

    await page.get_by_role("link", name="Registries and storage").click()
    await expect(page.locator("main")).to_contain_text("Stream EVENTS")
    await check(page, "operator-registries")

    async with streams.connect(stack.env["SWELL_NATS_URL"], "test") as nats:
        await nats.stream.publish("jobs.build.bd-00000000000000fe_1", b'{"id": "bd-00000000000000fe_1", "platform": 7}')
    await page.get_by_role("link", name="Dead letters").click()
    letter = page.locator("tbody tr").filter(has_text="bd-00000000000000fe_1")
    await reloaded_until(page, letter)
    await check(page, "operator-dead-letters")
    async with page.expect_navigation():
        await letter.get_by_role("button", name="Replay").click()
    await reloaded_until(page, letter)
    await letter.get_by_role("button", name="Discard").click()
    await expect(letter).to_have_count(0)

    await page.get_by_role("link", name="Tokens").click()
    await page.get_by_role("button", name="Count them").click()
    await expect(page.get_by_role("alert")).to_contain_text("is required")
    await page.get_by_label("Build id").fill(answer["buildId"])
    await page.get_by_role("button", name="Count them").click()
    await expect(page.get_by_role("status")).to_contain_text("would be revoked")
    await page.get_by_role("button", name="Revoke them").click()
    await expect(page.get_by_role("status")).to_contain_text("1 of")
    await check(page, "operator-tokens")

    await page.get_by_role("link", name="Audit").click()
    await reloaded_until(page, page.locator("tbody tr").filter(has_text="token.revoked").first)
    await check(page, "operator-audit")


async def test_an_operator_sees_the_usage_and_makes_keys(page: Page) -> None:
    """Keys for any user; the name of a key is only a text."""
    await page.goto("/view/usage")
    await expect(page.locator("figure")).to_have_count(7)
    await check(page, "usage")

    await page.goto("/view/keys")
    await page.get_by_label("Name").fill(HOSTILE)
    await page.get_by_label("User", exact=True).fill("ada")
    await page.get_by_role("button", name="Make the key").click()
    await expect(page.locator("#new-key")).to_contain_text("swl_")
    await check(page, "keys")
    key = page.locator("tbody tr").filter(has_text=HOSTILE)
    await key.get_by_role("button", name="Revoke").click()
    await expect(key).to_have_count(0)
