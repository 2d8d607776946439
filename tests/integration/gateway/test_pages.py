"""The pages over HTTP, with backends in memory: routes, redirects, headers, errors, hostile values, and forms."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import bcrypt
import pytest
from msgspec import structs

from gateway.access.guess_limiter import GuessLimiter
from gateway.domain.quota import Quota
from swell.net.http import listening
from swell.oci.digest import digest_of
from swell.serve import Address
from swell.store.logs import LoggedStep
from swell.store.records import Signing, SigningState
from swell_embedded.ports import Ports
from tests.integration.gateway.harness import Client, Harness
from tests.unit.gateway.doubles import ended

FORM = "application/x-www-form-urlencoded"
HOSTILE = "FROM alpine:3.20\n# </pre><script>alert(1)</script> {{ 7 * 7 }} \x1b[31m \u202e\n"


@pytest.fixture
def harness() -> Harness:
    made = Harness()
    for _ in range(100):
        made.logs.more.release()
    return made


@pytest.fixture
async def client(harness: Harness) -> AsyncIterator[Client]:
    async for client in serving(harness):
        yield client


async def serving(harness: Harness) -> AsyncIterator[Client]:
    where = Address("127.0.0.1", Ports.free().gateway)
    url = f"http://{where.host}:{where.port}"
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session,
        listening(harness.app(url), where),
    ):
        yield Client(session, url)


async def building(client: Client, recipe: str = HOSTILE) -> dict[str, Any]:
    """Request a build of *recipe*, and return the response."""
    return (await client.submit({"containerFile": base64.b64encode(recipe.encode()).decode()})).json


async def sent(client: Client, path: str, form: str, **headers: str) -> tuple[int, str, str]:
    """Send *form* as a browser does from a page of this server; return the status, the location and the body."""
    fields = {"Content-Type": "application/x-www-form-urlencoded", "Origin": client.url} | headers
    answer = await client.ask("POST", path, form.encode(), **fields)
    return answer.status, answer.headers.get("location", ""), answer.body.decode()


async def test_the_page_of_a_build_escapes_everything(client: Client) -> None:
    """The recipe of a stranger is text, and the policy allows only scripts and styles that are files of this server."""
    build_id = (await building(client))["buildId"]

    answer = await client.get(f"/view/builds/{build_id}")

    text = answer.body.decode()
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/html")
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {{ 7 * 7 }}" in text and "<script>alert" not in text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert " style=" not in text and " onclick=" not in text and len(answer.body) < 100_000
    assert answer.headers["cache-control"] == "no-store"


async def test_the_page_of_an_ended_build_says_how(client: Client, harness: Harness) -> None:
    """A failure is shown with its cause, whose problem it is, and the next step; nothing reloads any more."""
    build_id = (await building(client))["buildId"]
    running = (await client.get(f"/view/builds/{build_id}")).body.decode()
    await harness.builds.finish(build_id, ended(succeeded=False))

    failed = (await client.get(f"/view/builds/{build_id}")).body.decode()

    assert "http-equiv" in running and 'hx-trigger="every 5s' in running
    assert "http-equiv" not in failed and "hx-trigger" not in failed
    assert "What to do:" in failed and "Build again" in failed


async def test_the_page_of_a_build_says_why_it_is_not_signed(client: Client, harness: Harness) -> None:
    """Text of a registry is escaped."""
    build_id = (await building(client))["buildId"]
    await harness.builds.finish(build_id, ended(succeeded=True))
    failed = Signing(state=SigningState.RETRYING, attempts=7, time=datetime.now(UTC), reason="<b>full</b>")
    await harness.builds.put_signing(build_id, failed)

    page = (await client.get(f"/view/builds/{build_id}")).body.decode()

    assert "attempt 7 failed" in page and "&lt;b&gt;full" in page and "<b>full" not in page


async def test_old_and_short_ids_lead_to_the_page(client: Client, harness: Harness) -> None:
    """Ids as older clients print them, and ids without a number, are redirected; several builds are listed."""
    build_id = (await building(client))["buildId"]
    container_id = build_id.rpartition("_")[0]

    old = await client.get(f"/view/builds/{build_id.replace('_', '-')}")
    assert (old.status, old.headers["location"]) == (301, f"/view/builds/{build_id}")
    for short in (container_id, container_id.removeprefix("bd-")):
        only = await client.get(f"/view/builds/{short}")
        assert (only.status, only.headers["location"]) == (307, f"/view/builds/{build_id}")

    await harness.builds.finish(build_id, ended(succeeded=False))
    second = (await building(client))["buildId"]
    listed = await client.get(f"/view/builds/{container_id}")
    assert listed.status == 200
    assert listed.body.index(second.encode()) < listed.body.index(build_id.encode())


@pytest.mark.parametrize("path", ["builds/bd-0123456789abcdef_7", "builds/0123456789abcdef", "builds/%3Cscript%3E"])
async def test_what_is_unknown_is_a_404_that_says_what_to_do(client: Client, path: str) -> None:
    """A mistyped id gets a page with a next step; what was typed is only text in it."""
    answer = await client.get(f"/view/{path}")

    assert answer.status == 404 and answer.headers["content-type"].startswith("text/html")
    assert b"What to do:" in answer.body and b"<script>" not in answer.body


async def test_guessed_ids_of_pages_are_limited(harness: Harness) -> None:
    """The pages are no way around the limit for guesses, whose page says when to try again."""
    harness.guess_limiter = GuessLimiter(Quota(1, 3600))
    async for client in serving(harness):
        assert (await client.get("/view/builds/bd-0000000000000000_1")).status == 404
        assert (await client.get("/view/builds/bd-0000000000000000_2")).status == 429


async def test_a_build_is_cancelled_by_its_request_only(client: Client, harness: Harness) -> None:
    """The form needs the id of a request that wants the build, and must come from a page of this server."""
    answer = await building(client)
    path = f"/view/builds/{answer['buildId']}/cancel"

    assert (await sent(client, path, f"requestId={answer['requestId']}", Origin="http://evil.example"))[0] == 403
    assert (await sent(client, path, "requestId=unknown"))[0] == 403
    assert (await sent(client, path, ""))[0] == 403
    status, location, _ = await sent(client, path, f"requestId={answer['requestId']}")

    assert (status, location) == (303, f"/view/builds/{answer['buildId']}")
    page = (await client.get(location)).body.decode()
    assert "The build was cancelled." in page


async def test_the_cookie_of_a_request_shows_the_button(client: Client) -> None:
    """The browser that sent the request can cancel its build with one click; others have to know its id."""
    answer = await building(client)
    path = f"/view/builds/{answer['buildId']}"

    page = await client.ask("GET", path, Cookie=f"request={answer['requestId']}")
    assert b'name="requestId"' not in page.body and b"Cancel this build" in page.body
    assert b'name="requestId"' in (await client.get(path)).body
    status, *_ = await sent(client, f"{path}/cancel", "", Cookie=f"request={answer['requestId']}")
    assert status == 303


async def test_files_are_cached_forever_under_their_hash(client: Client) -> None:
    """A page names its files with their hash; another name is refused, and cannot leave the folder."""
    page = (await client.get("/view/builds/unknown")).body.decode()
    style = page.partition('href="/assets/swell.')[2].partition('"')[0]

    answer = await client.get(f"/assets/swell.{style}")

    assert answer.status == 200 and answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]
    for name in ("swell.css", "..%2frouter.py", "htmx-2.0.11.min.js"):
        assert (await client.get(f"/assets/{name}")).status == 404


async def test_a_cross_site_form_with_an_operators_password_is_refused(client: Client, harness: Harness) -> None:
    """A browser adds a stored password to forms of other sites; those cannot cancel builds or revoke tokens."""
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4))
    harness.accounts._hashes = {b"admin": hashed}
    answer = await building(client)
    login = {"Authorization": "Basic " + base64.b64encode(b"admin:secret").decode()}
    cancel, revoke = f"/v1alpha1/builds/{answer['buildId']}/cancel", f"/view/containers/{answer['requestId']}/revoke"

    for path in (cancel, revoke):
        for origin in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert (await client.ask("POST", path, b"", **login, **origin)).status == 403
    assert (await sent(client, revoke, ""))[0] == 401
    assert (await sent(client, revoke, "", **login))[0] == 303
    assert (await client.ask("POST", cancel, b"", **login)).status == 200


async def test_a_container_has_the_lines_that_pull_it(client: Client, harness: Harness) -> None:
    """An unknown token is a 404 with advice; a known one shows its request, without who sent it."""
    harness.registry.push("docker.io/library/ubuntu:22.04")
    answer = (await client.submit({"containerImage": "ubuntu:22.04", "fingerprint": "<b>mine</b>"})).json

    page = (await client.get(f"/view/containers/{answer['containerToken']}")).body.decode()

    assert f"podman pull {answer['targetImage']}" in page and "&lt;b&gt;mine&lt;/b&gt;" in page
    assert (await client.get("/view/containers/unknown")).status == 404


async def test_old_ids_of_scans_and_unknown_mirrors(client: Client) -> None:
    """Ids of older clients are redirected; unknown ones are pages with status 404."""
    moved = await client.get("/view/scans/sc-0123456789abcdef-1")
    assert (moved.status, moved.headers["location"]) == (301, "/view/scans/sc-0123456789abcdef_1")
    for path in ("scans/sc-0123456789abcdef_1", "scans/0123456789abcdef", "mirrors/mr-0123456789abcdef_1", "a/b/c"):
        answer = await client.get(f"/view/{path}")
        assert answer.status == 404 and b"What to do:" in answer.body


async def test_a_browser_at_an_unknown_path_gets_a_page(client: Client) -> None:
    """Programs get JSON, as before."""
    page = await client.ask("GET", "/nothing", Accept="text/html,*/*")
    assert page.status == 404 and page.headers["content-type"].startswith("text/html")
    assert (await client.get("/nothing")).json["code"] == "NOT_FOUND"


async def test_the_scan_form_needs_an_image(client: Client) -> None:
    """An empty form says what to enter."""
    status, _, page = await sent(client, "/view/scans", "image=")
    assert status == 400 and "Enter the name of an image." in page


@pytest.mark.parametrize("path", ["/", "/?q=sam", "/build", "/augment", "/view/scans"])
async def test_forms_are_pages(client: Client, path: str) -> None:
    """Each form is a small page; hostile descriptions of packages are only texts in it."""
    answer = await client.get(path)

    assert answer.status == 200 and len(answer.body) < 100_000
    assert b"<form" in answer.body and b"<script>alert" not in answer.body


async def test_a_search_without_scripts_adds_to_the_list(client: Client) -> None:
    """The whole form is sent, so nothing that was entered is lost."""
    page = (await client.get("/?q=sam&packages=bwa&add=sam-tools&version+sam-tools=1.0")).body.decode()

    assert ">bwa\nsam-tools=1.0</textarea>" in page and "conda-forge" in page


async def test_a_recipe_becomes_a_container(client: Client) -> None:
    """A dry run is shown in the form; a request leads to its page, with a cookie that can cancel its build."""
    form = "recipe=FROM+alpine%3A3.20%0D%0ARUN+true&linux%2Famd64=on&action="

    status, _, dry = await sent(client, "/build", form + "dry")
    assert status == 200 and "Dry run: this would work" in dry and "RUN true" in dry
    answer = await client.ask(
        "POST", "/build", (form + "build").encode(), **{"Content-Type": FORM, "Origin": client.url}
    )

    assert answer.status == 303 and answer.headers["location"].startswith("/view/containers/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/view/builds/bd-" in cookie
    page = (await client.get(answer.headers["location"])).body.decode()
    assert "Watch the build" in page


@pytest.mark.parametrize(
    ("path", "form", "words"),
    [
        ("/", "packages=", "Enter at least one package"),
        ("/", "packages=a+b+c&channels=-x", "looks like an option"),
        ("/build", "recipe=", "Enter a container file"),
        ("/augment", "image=", "Enter the name of an image"),
        ("/augment", "image=ubuntu%3A22.04&cmd=%22", "a quote is not closed"),
    ],
)
async def test_a_wrong_form_is_shown_again_with_what_is_wrong(
    client: Client, harness: Harness, path: str, form: str, words: str
) -> None:
    """What was entered stays, and no build is started."""
    status, _, page = await sent(client, path, form)

    assert status == 400 and words in page and "<form" in page and "<script>" not in page
    assert not harness.grants.stored


async def test_forms_of_other_sites_start_nothing(client: Client, harness: Harness) -> None:
    """Also anonymous users have limits, which another site must not use up."""
    for path in ("/", "/build", "/augment", "/view/scans"):
        assert (await sent(client, path, "recipe=FROM+a&packages=a&image=a", Origin="https://evil.example"))[0] == 403
        assert (await client.ask("POST", path, b"{}", Origin=client.url)).status == 415
    assert not harness.grants.stored


async def test_a_build_is_offered_again(client: Client) -> None:
    """The form has the recipe of the former build."""
    build_id = (await building(client))["buildId"]
    page = (await client.get(f"/view/builds/{build_id}/again")).body.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and 'name="rebuild" checked' in page


async def test_usage_is_for_operators(client: Client, harness: Harness) -> None:
    """Counts of organisations are not for everyone; a browser asks its user for the password."""
    harness.accounts._hashes = {b"admin": bcrypt.hashpw(b"secret", bcrypt.gensalt(4))}
    login = {"Authorization": "Basic " + base64.b64encode(b"admin:secret").decode()}

    refused = await client.get("/view/usage")
    page = await client.ask("GET", "/view/usage", **login)

    assert refused.status == 401 and refused.headers["www-authenticate"].startswith("Basic")
    assert page.status == 200 and b"Pulls with Fusion" in page.body and b"<svg" in page.body


async def test_an_image_that_cannot_be_inspected_is_explained(client: Client) -> None:
    """The form stays, with what is wrong."""
    answer = await client.get("/view/inspect?image=%3Cscript%3E")
    assert answer.status == 400 and b"This does not work yet" in answer.body and b"<script>&" not in answer.body
    assert (await client.get("/view/inspect")).status == 200


async def test_keys_are_made_shown_once_and_revoked(client: Client, harness: Harness) -> None:
    """An operator makes keys for users; without an account the page says how to sign in."""
    harness.accounts._hashes = {b"admin": bcrypt.hashpw(b"secret", bcrypt.gensalt(4))}
    login = {"Authorization": "Basic " + base64.b64encode(b"admin:secret").decode()}
    form = "name=%3Cb%3Emine&user=ada&days=30&build=on&repositories="

    assert (await client.get("/view/keys")).status == 401
    assert (await client.get("/view/keys?operator=true")).headers["www-authenticate"].startswith("Basic")
    assert (await sent(client, "/view/keys", form))[0] == 401
    assert (await sent(client, "/view/keys", form, Origin="https://evil.example", **login))[0] == 403
    status, _, made = await sent(client, "/view/keys", form, **login)
    key = made.partition('id="new-key">')[2].partition("<")[0]
    listed = (await client.ask("GET", "/view/keys", **login)).body.decode()

    assert status == 200 and key.startswith("swl_") and "&lt;b&gt;mine" in listed and key not in listed
    key_id = listed.partition('action="/view/keys/')[2].partition("/")[0]
    assert (await sent(client, f"/view/keys/{key_id}/revoke", "", **login))[:2] == (303, "/view/keys")
    assert "no keys yet" in (await client.ask("GET", "/view/keys", **login)).body.decode()


@pytest.mark.parametrize("form", ["days=0&user=a", "days=x&user=a", "user=a&build=on&repositories=%00", "days=99999"])
async def test_a_wrong_key_form_is_explained(client: Client, harness: Harness, form: str) -> None:
    """No key is made, and what was entered stays."""
    harness.accounts._hashes = {b"admin": bcrypt.hashpw(b"secret", bcrypt.gensalt(4))}
    login = {"Authorization": "Basic " + base64.b64encode(b"admin:secret").decode()}
    status, _, page = await sent(client, "/view/keys", form, **login)
    assert status == 400 and "This does not work yet" in page and "no keys yet" in page


async def test_a_server_for_known_users_does_nothing_for_strangers(harness: Harness) -> None:
    """Not even look a login up at a registry, or search the channels, which may be private."""
    harness.serves_anonymous = False
    harness.accepted.add("right")
    login = {"userName": "ada", "password": "right", "registry": "quay.io"}
    async for client in serving(harness):
        answers = [
            await client.ask("POST", "/v1alpha2/validate-creds", login),
            await client.ask("POST", "/validate-creds", login),
            await client.ask("POST", "/validate-creds", {"request": login}),
            await client.ask("GET", "/view/inspect?image=ubuntu"),
        ]
        searches = [(await client.ask("GET", "/?q=sam")).body.decode(), (await sent(client, "/", "q=sam"))[2]]

    assert [answer.status for answer in answers] == [401] * 4
    assert not [page for page in searches if "sam-tools" in page]


async def test_many_readers_of_an_ended_build_read_its_files_once(client: Client, harness: Harness) -> None:
    """Soon after the end, signatures and steps may still arrive, so nothing is cached then."""
    reads = list[str]()

    class Counted(type(harness.logs)):  # type: ignore[misc]
        async def steps(self, build_id: str, attempt: int) -> tuple[LoggedStep, ...]:
            reads.append(build_id)
            return ()

    harness.logs.__class__ = Counted
    now = datetime.now(UTC)
    for recipe, finished, count in (("FROM a:1\n", now, 3), ("FROM b:1\n", now - timedelta(minutes=5), 1)):
        build_id = (await building(client, recipe))["buildId"]
        await harness.builds.finish(build_id, structs.replace(ended(succeeded=True), finished=finished))
        for _ in range(3):
            assert (await client.get(f"/view/builds/{build_id}")).status == 200
        assert reads.count(build_id) == count


async def test_a_build_is_compared_with_the_build_before(client: Client, harness: Harness) -> None:
    """Of the same inputs: whether the images are equal, and which packages have another version."""
    locks = {
        1: "https://c.example/linux-64/tool-1.0-h1_0.conda\n",
        2: "https://c.example/linux-64/tool-2.0-h1_0.conda\n",
    }

    class Locked(type(harness.logs)):  # type: ignore[misc]
        async def lock(self, build_id: str) -> AsyncIterator[bytes] | None:
            return pieces(locks[min(int(build_id[-1]), 2)].encode())

    harness.logs.__class__ = Locked
    ids = list[str]()
    for content in (b"one", b"two", b"two"):
        body = {"containerFile": base64.b64encode(b"FROM a:2\n").decode(), "rebuild": True}
        ids.append((await client.submit(body)).json["buildId"])
        result = structs.replace(ended(succeeded=True), digest=digest_of(content))
        await harness.builds.finish(ids[-1], result)

    first, second, third = [(await client.get(f"/view/builds/{each}")).body.decode() for each in ids]

    assert "Since the build before" not in first
    assert f'href="/view/builds/{ids[0]}"' in second and "The images differ." in second
    assert "<td>1.0-h1_0</td><td>2.0-h1_0</td>" in second.replace("0</td> <td>", "0</td><td>")
    assert f'href="/view/builds/{ids[1]}"' in third and "equal, byte for byte" in third


async def test_another_recipe_of_the_same_name_is_compared(client: Client, harness: Harness) -> None:
    """Same client, same images below, another line: the page shows the line, and nothing of other clients' builds."""
    ids = list[str]()
    for step in ("echo one", "echo <two>"):
        body = {"containerFile": base64.b64encode(f"FROM a:2\nRUN {step}\n".encode()).decode()}
        ids.append((await client.submit(body)).json["buildId"])
        await harness.builds.finish(ids[-1], ended(succeeded=True))
    mine = await harness.builds.get(ids[-1])
    assert mine
    theirs = structs.replace(
        mine.submission, container_id="b" * 16, fingerprint="", client="another", target_image="r.example/x:b"
    )
    other, _ = await harness.builds.submit(theirs)

    page = (await client.get(f"/view/builds/{ids[1]}")).body.decode()
    await harness.builds.finish(other, ended(succeeded=True))
    page_of_other = (await client.get(f"/view/builds/{other}")).body.decode()

    assert f'href="/view/builds/{ids[0]}"' in page
    assert "<del>-RUN echo one</del>" in page and "<ins>+RUN echo &lt;two&gt;</ins>" in page
    assert f'href="/view/builds/{ids[1]}"' in page_of_other  # the viewer's own


async def test_a_container_file_of_another_client_is_not_compared(client: Client, harness: Harness) -> None:
    """The page would publish the id of the other build, and with it the recipe."""
    body = {"containerFile": base64.b64encode(b"FROM a:2\nRUN echo mine\n").decode()}
    first = (await client.submit(body)).json["buildId"]
    build = await harness.builds.get(first)
    assert build
    theirs = structs.replace(build.submission, client="another", target_image="r.example/x:1", container_id="c" * 16)
    secret, _ = await harness.builds.submit(structs.replace(theirs, containerfile="FROM a:2\nRUN secret\n"))
    shared, _ = await harness.builds.submit(
        structs.replace(theirs, target_image="r.example/x:2", container_id="d" * 16, fingerprint="")
    )
    for each in (first, secret, shared):
        await harness.builds.finish(each, ended(succeeded=True))

    page = (await client.get(f"/view/builds/{shared}")).body.decode()

    assert secret not in page and "RUN secret" not in page


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content
