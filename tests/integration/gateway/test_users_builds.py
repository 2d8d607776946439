"""The builds of a user over HTTP: by the API, and as a page."""

import base64
from collections.abc import AsyncIterator

import aiohttp
import bcrypt
import pytest

from gateway.access.accounts.accounts import Accounts
from gateway.domain.access.identity import USER_SCOPES, Identity, Scope
from swell.net.http import listening
from swell.serve import Address
from swell_embedded.ports import Ports
from tests.integration.gateway.harness import Client, Harness
from tests.integration.gateway.test_record_access import BASIC, USERS, Known

PATH = "/v1alpha2/builds"
ADA, BOB, ROOT, PULLER = ({"Authorization": f"Bearer {name}"} for name in ("ada", "bob", "root", "puller"))
KNOWN = USERS | {
    "puller": Identity(user="ada", scopes=frozenset({Scope.PULL})),
    "root": Identity(user="root", scopes=USER_SCOPES | {Scope.ADMINISTER}),
}


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    harness, where = Harness(), Address("127.0.0.1", Ports.free().gateway)
    monkeypatch.setattr("tests.integration.gateway.test_record_access.USERS", KNOWN)
    harness.identities = Known()
    harness.accounts = Accounts({b"ops": bcrypt.hashpw(b"pw", bcrypt.gensalt(4))})
    url = f"http://{where.host}:{where.port}"
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session,
        listening(harness.app(url), where),
    ):
        yield Client(session, url)


async def building(client: Client, number: int, token: str = "") -> str:
    recipe = base64.b64encode(f"FROM alpine:3.20\nRUN echo {number}\n".encode()).decode()
    body = {"containerFile": recipe} | ({"towerAccessToken": token} if token else {})
    return str((await client.submit(body)).json["buildId"])


async def test_users_list_their_own_builds(client: Client) -> None:
    """Newest first, in pages. Builds of others and of anonymous clients are not among them."""
    first, second = await building(client, 1, "ada"), await building(client, 2, "ada")
    await building(client, 3)
    shared = await building(client, 1, "bob")

    page = (await client.ask("GET", f"{PATH}?limit=1", **ADA)).json
    following = (await client.ask("GET", f"{PATH}?limit=1&cursor={page['next']}", **ADA)).json
    of_bob = (await client.ask("GET", PATH, **BOB)).json

    assert [build["buildId"] for each in (page, following) for build in each["builds"]] == [second, first]
    assert ([build["buildId"] for build in of_bob["builds"]], shared) == ([first], first)


async def test_only_operators_list_the_builds_of_others(client: Client) -> None:
    """By name, with an account or a token. Others get the same answer for every name."""
    mine = await building(client, 1, "ada")

    for headers in (ROOT, {"Authorization": BASIC}):
        listed = await client.ask("GET", f"{PATH}?user=ada", **headers)
        assert [build["buildId"] for build in listed.json["builds"]] == [mine]
    assert (await client.ask("GET", PATH, Authorization=BASIC)).json["builds"] == []
    for name in ("ada", "unknown"):
        assert (await client.ask("GET", f"{PATH}?user={name}", **BOB)).status == 403
    assert (await client.ask("GET", PATH)).status == 401
    assert (await client.ask("GET", PATH, **PULLER)).status == 403
    for query in ("limit=0", "limit=101", "cursor=x", "cursor=-1", f"cursor={'9' * 30}"):
        assert (await client.ask("GET", f"{PATH}?{query}", **ADA)).status == 400, query


async def test_the_page_lists_the_same_builds(client: Client) -> None:
    """A stranger is asked to sign in; the name of a user is only a text."""
    mine = await building(client, 1, "ada")

    page = await client.ask("GET", "/view/builds", **ADA)
    stranger = await client.ask("GET", "/view/builds")
    operator = await client.ask("GET", "/view/builds?user=%3Cscript%3E", Authorization=BASIC)

    assert (page.status, f'href="/view/builds/{mine}"' in page.body.decode()) == (200, True)
    assert (stranger.status, 'name="next" value="/view/builds"' in stranger.body.decode()) == (401, True)
    assert (operator.status, b"<script>" in operator.body) == (200, False)
    asking = await client.ask("GET", "/view/builds?operator=true")
    assert (asking.status, asking.headers["www-authenticate"].startswith("Basic")) == (401, True)
