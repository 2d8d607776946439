"""Debian's Chromium, which tests drive through Playwright, and what each page must fulfil."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Browser, ConsoleMessage, Page, ViewportSize, async_playwright

CHROMIUM = "/usr/bin/chromium"
SCREENSHOTS = Path(os.environ.get("SWELL_SCREENSHOTS") or Path(__file__).parents[2] / ".screenshots")
MOST_BYTES = 100_000
WIDE, NARROW = ViewportSize(width=1100, height=900), ViewportSize(width=360, height=780)

_AXE = (Path(__file__).parents[1] / "fixtures" / "axe-core" / "axe.min.js").read_text()
_EXPECTED = ("Failed to load resource", "htmx:sendError", "htmx:sendAbort")
"""Messages about a request that fails, or that the test ends by leaving the page."""
_SCHEMES: dict[Literal["light", "dark"], list[str]] = {
    "light": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "dark": ["color-contrast"],  # the elements are those of the light page
}
"""The rules of axe-core, or the sets of rules, for each colour scheme."""


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Chromium without a window; it can also run as root."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def new_page(browser: Browser, url: str, *others: str, **options: Any) -> AsyncIterator[Page]:
    """A page in a fresh profile whose relative addresses are below *url*; it may also ask the servers *others*.

    Any script error, message of the content policy, dialog, and request to another server fails the test.
    """
    context = await browser.new_context(base_url=url, viewport=options.pop("viewport", WIDE), **options)
    page = await context.new_page()
    page.set_default_timeout(30_000)
    with _no_trouble(page, (url, *others)):
        yield page
    await context.close()


@contextmanager
def _no_trouble(page: Page, urls: tuple[str, ...]) -> Iterator[None]:
    troubles = list[str]()

    def on_console(message: ConsoleMessage) -> None:
        is_expected = any(text in message.text for text in _EXPECTED)
        if message.type == "error" and not is_expected:
            troubles.append(message.text)

    page.on("console", on_console)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: troubles.append(request.url) if not request.url.startswith(urls) else None)
    yield
    assert not troubles, troubles


async def check(page: Page, name: str) -> None:
    """Check the page that is open: its size, accessibility in both colour schemes, and width on a phone.

    Screenshots of it are written to `SCREENSHOTS`.
    """
    SCREENSHOTS.mkdir(exist_ok=True)
    size = await page.evaluate("performance.getEntriesByType('navigation')[0].decodedBodySize")
    assert 0 < size < MOST_BYTES, (name, size)
    for scheme, rules in _SCHEMES.items():
        await page.emulate_media(color_scheme=scheme)
        violations = await _violations(page, rules)
        assert not violations, (name, scheme, violations)
        await page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}.png", full_page=True)
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size(NARROW)
    overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    await page.screenshot(path=SCREENSHOTS / f"{name}-narrow.png", full_page=True)
    await page.set_viewport_size(WIDE)
    assert overflow <= 0, f"{name} is wider than a phone by {overflow} pixels"


async def _violations(page: Page, rules: list[str]) -> list[str]:
    """What axe-core finds; its script runs beside the page, so the content policy does not stop it."""
    session = await page.context.new_cdp_session(page)
    options = json.dumps({"runOnly": rules})
    await session.send("Runtime.evaluate", {"expression": f"{_AXE};0"})
    found = await session.send(
        "Runtime.evaluate",
        {
            "expression": f"axe.run(document, {options}).then(found => JSON.stringify(found.violations))",
            "awaitPromise": True,
        },
    )
    await session.detach()
    return [
        f"{each['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for each in json.loads(found["result"]["value"])
        for node in each["nodes"]
    ]
