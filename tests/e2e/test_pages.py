"""The pages in Debian's Chromium: each with real data, live, cancelled, hostile, dark, and on a phone."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from swell.oci.document import Document
from swell.testing import rootfs
from swell.testing.images import Layer
from tests.e2e.browser import check, new_page, open_browser
from tests.e2e.busybox import push, read, refer, root
from tests.e2e.client import Swell, until
from tests.e2e.engines import pull
from tests.e2e.upstreams import Upstreams, image_of
from tests.integration.builder.conda.channel import Channel

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>"
PACKAGES = rootfs.debian({"libdemo": "1.0-1", "tiny": "2.0"})


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser, swell: Swell) -> AsyncIterator[Page]:
    async with new_page(browser, swell.url) as page:
        yield page


async def test_a_live_build_is_watched_to_its_end(page: Page, swell: Swell, upstreams: Upstreams) -> None:
    """The log grows without reloading, with its colours; at the end the page shows the result and the steps."""
    lines = 'RUN echo "first $((20 + 1))" && sleep 4 && echo "last $((20 + 2))"'
    build_id = (await swell.build(f"FROM {upstreams.image()}\n{lines}\n"))["buildId"]

    await page.goto(f"/view/builds/{build_id}")
    await expect(page.locator(".viewer")).to_contain_text("first 21")
    await expect(page.locator(".viewer .head").last).to_contain_text("RUN echo")
    await expect(page.locator("h1 .badge")).to_have_text(re.compile("running|queued"))
    await check(page, "build-running")
    await expect(page.locator(".viewer")).to_contain_text("last 22", timeout=60_000)

    await expect(page.locator("h1 .badge")).to_have_text("succeeded", timeout=60_000)
    await expect(page.locator(".timeline tbody tr").first).to_be_visible()
    await expect(page.locator("#outcome")).to_contain_text("Provenance")
    await page.reload()
    await expect(page.locator(".tools .state")).to_contain_text("the end")
    await check(page, "build")


@pytest.mark.full
async def test_lines_are_searched_and_linked_among_100_000(page: Page, swell: Swell, upstreams: Upstreams) -> None:
    """A long log stays smooth: the page has few elements for it, and finds any line."""
    build_id = (await swell.build(f"FROM {upstreams.image()}\nRUN seq 1 100000 | sed s/^/line-/\n"))["buildId"]
    await swell.ended(build_id)

    await page.goto(f"/view/builds/{build_id}#L70000")
    await expect(page.locator(".tools .state")).to_contain_text("the end", timeout=90_000)

    await expect(page.locator(".viewer .row.here a")).to_have_text("70000")
    assert await page.locator(".viewer .row").count() < 200
    await page.get_by_label("Search the log").fill("LINE-54321")
    await expect(page.locator(".tools .count")).to_have_text("1 of 1")
    await expect(page.locator(".viewer .row.hit mark")).to_have_text("line-54321")
    await page.get_by_label("Follow").check()
    await expect(page.locator(".viewer .row").last).to_be_visible()
    assert await page.evaluate(_LONGEST_FRAME) < 1000


_LONGEST_FRAME = """() => new Promise(done => {
  const viewer = document.querySelector('.viewer'); let last = performance.now(), longest = 0, frames = 0;
  const step = now => {
    longest = Math.max(longest, now - last); last = now; viewer.scrollTop = Math.random() * viewer.scrollHeight;
    if (++frames < 60) requestAnimationFrame(step); else done(longest);
  };
  requestAnimationFrame(step);
})"""
"""The longest of 60 frames in milliseconds, while the log is scrolled to random places."""


async def test_hostile_texts_are_only_texts(page: Page, swell: Swell, upstreams: Upstreams) -> None:
    """HTML in a recipe, a step or a log line does not run, and the page keeps its form."""
    recipe = f"FROM {upstreams.image()}\nRUN echo '{HOSTILE}'; printf '\\033]0;x\\007\\033[2J%s\\n' ok; exit 3\n"
    build_id = (await swell.build(recipe))["buildId"]
    await swell.ended(build_id)

    await page.goto(f"/view/builds/{build_id}")

    await expect(page.locator(".viewer")).to_contain_text("alert(1)")
    await expect(page.locator("h1 .badge")).to_have_text("failed")
    await expect(page.locator(".notice.failed")).to_contain_text("What to do:")
    assert await page.locator("main script, main img").count() == 0
    await check(page, "build-failed")
    await page.goto(f"/view/builds/{HOSTILE.replace('/', '%2F')}")
    await expect(page.locator("h1")).to_have_text("Not found")
    await check(page, "not-found")


async def test_pages_work_without_scripts(browser: Browser, swell: Swell, upstreams: Upstreams) -> None:
    """The log, the steps and the result are in the page itself."""
    build_id = (await swell.build(f"FROM {upstreams.image()}\nRUN echo plain $((20 + 3))\n"))["buildId"]
    await swell.ended(build_id)

    async with new_page(browser, swell.url, java_script_enabled=False) as page:
        await page.goto(f"/view/builds/{build_id}")
        await expect(page.locator("pre.log")).to_contain_text("plain 23")
        await expect(page.locator(".timeline")).to_be_visible()


async def test_a_build_is_cancelled_in_the_page(page: Page, swell: Swell, upstreams: Upstreams) -> None:
    """Who has the id of the request cancels the build, and sees it end."""
    answer = await swell.build(f"FROM {upstreams.image()}\nRUN sleep 300\n")

    await page.goto(f"/view/builds/{answer['buildId']}")
    await page.get_by_text("Cancel this build").click()
    await page.get_by_label("The request id of your response").fill(answer["requestId"])
    await page.get_by_role("button", name="Cancel", exact=True).click()

    await expect(page.locator("h1 .badge")).to_have_text("cancelled", timeout=60_000)
    assert (await swell.build_status(answer["buildId"]))["status"] == "COMPLETED"


@pytest.mark.full
async def test_a_container_is_shown_with_the_lines_that_pull_it(page: Page, swell: Swell, upstreams: Upstreams) -> None:
    """A request has its images, what was added, and a line for each program."""
    answer = await swell.submit(
        containerImage=upstreams.image(), containerConfig={"env": [f"NAME={HOSTILE}"], "cmd": ["/bin/sh"]}
    )

    await page.goto(f"/view/containers/{answer['containerToken']}")

    await expect(page.locator(".pull")).to_contain_text(f"docker pull {answer['targetImage']}")
    await expect(page.locator("main")).to_contain_text(f"NAME={HOSTILE}")
    await check(page, "container")


@pytest.mark.full
async def test_a_scan_of_any_image_ends_with_a_verdict(page: Page, swell: Swell, upstreams: Upstreams) -> None:
    """The form starts a scan; its page waits for the end, says what it means, and sorts the findings."""
    image = await push(f"{upstreams.open}/acme/pages:1", Layer(*rootfs.layer_of(PACKAGES)))

    await page.goto("/view/scans")
    await check(page, "scan-form")
    await page.get_by_label("Image").fill(image)
    await page.get_by_role("button", name="Scan").click()

    await expect(page.locator(".notice.bad h2")).to_have_text("Serious vulnerabilities are known", timeout=120_000)
    await expect(page.locator(".notice.bad")).to_contain_text("1 high, 1 low in 2 packages; newer versions fix 1 of")
    await page.reload()
    await page.get_by_role("button", name="Severity").click()
    await page.get_by_role("button", name="Severity").click()
    await expect(page.locator("tbody tr").first).to_contain_text("CVE-2026-0002")
    await check(page, "scan")


@pytest.mark.full
async def test_a_mirror_is_watched(page: Page, swell: Swell, upstreams: Upstreams, images: str) -> None:
    """A copy has the same live log as a build, and its result."""
    answer = await swell.submit(containerImage=image_of(upstreams.open), mirror=True, buildRepository=images)

    await page.goto(f"/view/mirrors/{answer['buildId']}")

    await expect(page.locator("h1 .badge")).to_have_text("succeeded", timeout=60_000)
    await expect(page.locator(".tools .state")).to_contain_text("the end")
    await check(page, "mirror")


async def test_clients_are_led_to_the_pages(page: Page, swell: Swell, upstreams: Upstreams) -> None:
    """`detailsUri` of a failed request opens the page of its build."""
    answer = await swell.build(f"FROM {upstreams.image()}\nRUN false\n")
    await swell.ended(answer["buildId"])

    async def look() -> str | None:
        return (await swell.get(f"/v1alpha2/container/{answer['requestId']}/status"))[1].get("detailsUri")

    await page.goto(await until(look))

    await expect(page.locator("h1 .badge")).to_have_text("failed")


async def test_packages_are_picked_and_their_image_is_pulled(
    page: Page, swell: Swell, upstreams: Upstreams, channel: Channel, tmp_path: Path
) -> None:
    """From the search to an image that podman pulls by the line of the page, as a scientist does it."""
    await page.goto("/")
    await page.get_by_label("Search packages").press_sequentially("tool")
    await page.get_by_role("button", name="Add tool").first.click()
    await expect(page.get_by_label("Packages", exact=True)).to_have_value(re.compile(r"^tool=\d"))
    await page.get_by_label("Base image").fill(upstreams.image())
    await check(page, "picker")

    await page.get_by_role("button", name="Dry run").click()
    await expect(page.locator("#dry-run")).to_contain_text("a build makes it")
    await check(page, "dry-run")
    await page.get_by_role("button", name="Build the container").click()

    await expect(page).to_have_url(re.compile("/view/containers/"))
    await expect(page.locator("h1 .badge")).to_have_text("ready", timeout=90_000)
    line = await page.locator(".pull pre").nth(1).text_content()
    assert line and line.startswith("podman pull ")
    ran = await pull(line.removeprefix("podman pull "), tmp_path)
    assert ran.status == 0, ran.output


@pytest.mark.full
async def test_an_image_is_inspected(page: Page, upstreams: Upstreams) -> None:
    """An index leads to the image of a platform, which has its layers with their sizes; a signed one its signature."""
    signed = await push(f"{upstreams.open}/signed/page:1", root(), Cmd=["true"])
    signature = Document("", await read(await push(f"{upstreams.open}/signed/page:sig", root(), Cmd=["false"])))
    await refer(signed, Document("", await read(signed)), signature, "application/vnd.cncf.notary.signature")
    await page.goto(f"/view/inspect?image={signed}")
    await expect(page.locator("tbody tr").filter(has_text="application/vnd.cncf.notary")).to_contain_text("signature")
    await check(page, "image-referrers")
    await page.goto("/view/inspect")
    await page.get_by_label("Image", exact=True).fill(upstreams.image("oci-index"))
    await page.get_by_role("button", name="Inspect").click()
    await expect(page.locator("h1")).to_contain_text("busybox")
    await check(page, "index")
    await page.get_by_role("link", name="linux/arm64").click()

    await expect(page.locator(".timeline tbody tr").first).to_contain_text("MiB")
    await check(page, "image")


@pytest.mark.full
async def test_a_build_of_the_form_is_cancelled_with_one_click(page: Page, upstreams: Upstreams) -> None:
    """The browser that sent the request need not know its id."""
    await page.goto("/build")
    await page.get_by_label("Container file", exact=True).fill(f"FROM {upstreams.image()}\nRUN sleep 301\n")
    await check(page, "recipe")
    await page.get_by_role("button", name="Build", exact=True).click()
    await page.get_by_role("link", name="Watch the build").click()

    await page.get_by_role("button", name="Cancel this build").click()

    await expect(page.locator("h1 .badge")).to_have_text("cancelled", timeout=60_000)


async def test_an_image_gets_additions(page: Page, swell: Swell, upstreams: Upstreams) -> None:
    """A wrong form says what is wrong; a right one leads to the lines that pull the image."""
    await page.goto("/augment")
    await page.get_by_label("Image", exact=True).fill(upstreams.image())
    await page.get_by_label("Variables").fill("no variable")
    await page.get_by_role("button", name="Get the name").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await check(page, "augment")
    await page.get_by_label("Variables").fill(f"NAME={HOSTILE}")
    await page.get_by_role("button", name="Get the name").click()

    await expect(page.locator(".pull")).to_contain_text("docker pull")
    await expect(page.locator("main")).to_contain_text(f"NAME={HOSTILE}")
