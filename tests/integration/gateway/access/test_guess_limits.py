"""Guess limits over HTTP: each kind of secret can be tried only some times."""

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import bcrypt
import pytest

from gateway.access.accounts.accounts import Accounts
from gateway.access.guess_limiter import GuessLimiter
from gateway.domain.access.identity import ANONYMOUS, Identity
from gateway.domain.quota import Quota
from swell.errors import Unauthorized
from swell.net.http import listening
from swell.serve import Address
from swell_embedded.ports import Ports
from tests.integration.gateway.harness import SUBMIT, Answer, Client, Harness

FILE = base64.b64encode(b"FROM alpine:3.20\n").decode()
LIMIT = 3
KEY = "swell_good"

Try = Callable[[Client, str], Awaitable[Answer]]


class OneKey:
    """Knows KEY, and counts how often it was asked for others."""

    def __init__(self) -> None:
        self.unknown = 0

    async def identify(self, token: str | None, endpoint: str | None) -> Identity:
        if not token:
            return ANONYMOUS
        if token != KEY:
            self.unknown += 1
            raise Unauthorized
        return Identity(user="ada")


@pytest.fixture
def keys() -> OneKey:
    return OneKey()


@pytest.fixture
def harness(keys: OneKey) -> Harness:
    harness = Harness()
    harness.guess_limiter = GuessLimiter(Quota(permits=LIMIT, seconds=3600))
    harness.identities = keys
    harness.accounts = Accounts({b"anna": bcrypt.hashpw(b"secret", bcrypt.gensalt(4))})
    harness.registry.push("docker.io/library/ubuntu:22.04")
    return harness


@pytest.fixture
async def client(harness: Harness) -> AsyncIterator[Client]:
    where = Address("127.0.0.1", Ports.free().gateway)
    url = f"http://{where.host}:{where.port}"
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session,
        listening(harness.app(url), where),
    ):
        yield Client(session, url)


def path(template: str, method: str = "GET") -> Try:
    async def tried(client: Client, secret: str) -> Answer:
        return await client.ask(method, template.format(secret))

    return tried


def token_in_body(where: str, **more: str) -> Try:
    async def tried(client: Client, secret: str) -> Answer:
        return await client.ask("POST", where, {"containerImage": "ubuntu:22.04", "towerAccessToken": secret} | more)

    return tried


def account(method: str, where: str) -> Try:
    async def tried(client: Client, secret: str) -> Answer:
        return await client.ask(method, where, Authorization=basic("anna", secret))

    return tried


async def bearer(client: Client, secret: str) -> Answer:
    return await client.ask("POST", SUBMIT, {"containerImage": "ubuntu:22.04"}, Authorization=f"Bearer {secret}")


async def login(client: Client, secret: str) -> Answer:
    body = {"userName": "ada", "password": secret, "registry": "registry.example.com"}
    return await client.ask("POST", "/v1alpha2/validate-creds", body)


async def wrapped_login(client: Client, secret: str) -> Answer:
    body = {"request": {"userName": "ada", "password": secret, "registry": "registry.example.com"}}
    return await client.ask("POST", "/validate-creds", body)


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


WAYS: dict[str, Try] = {
    "token": path("/container-token/{}"),
    "token, head": path("/container-token/{}", "HEAD"),
    "token, two slashes": path("//container-token//{}"),
    "request": path("/v1alpha2/container/{}"),
    "request's status": path("/v1alpha2/container/{}/status"),
    "build": path("/v1alpha1/builds/{}"),
    "build's status": path("/v1alpha1/builds/{}/status"),
    "build's log": path("/v1alpha1/builds/{}/logs"),
    "build's lock": path("/v1alpha1/builds/{}/condalock"),
    "build's SIF file": path("/v1alpha1/builds/{}/sif"),
    "build to cancel": path("/v1alpha1/builds/{}/cancel", "POST"),
    "builds of a container id": path("/v1alpha1/builds?image={}"),
    "access token": token_in_body(SUBMIT),
    "access token of a Platform": token_in_body(SUBMIT, towerEndpoint="https://platform.example.com"),
    "access token, first version": token_in_body("/container-token"),
    "access token to inspect": token_in_body("/v1alpha1/inspect"),
    "bearer": bearer,
    "account for metrics": account("GET", "/v1alpha3/metrics/builds"),
    "account to revoke": account("DELETE", "/container-token/w5bgtyvxnpli57dtojtubvohem"),
    "login at a registry": login,
    "login at a registry, wrapped": wrapped_login,
}


@pytest.mark.parametrize("way", WAYS)
async def test_guesses_are_limited(client: Client, way: str) -> None:
    """Each way has the same limit, and says when to come back."""
    statuses = [(await WAYS[way](client, f"{number:016}")).status for number in range(LIMIT)]
    refused = await WAYS[way](client, f"{LIMIT:016}")

    assert 429 not in statuses
    assert (refused.status, refused.headers["retry-after"]) == (429, "1200")
    assert "head" in way or refused.json["code"] == "TOOMANYREQUESTS"


async def test_all_ways_share_one_limit(client: Client) -> None:
    """Else a stranger would have one limit for each kind of secret."""
    for number, way in enumerate(("token", "build", "access token")):
        await WAYS[way](client, f"{number:016}")

    assert (await WAYS["account for metrics"](client, "wrong")).status == 429
    assert (await client.get(f"/v2/wt/{'0' * 26}/library/ubuntu/tags/list")).status == 429


async def test_events_of_a_build_are_limited_as_its_log_is(client: Client) -> None:
    """An event stream reveals the same as the log."""
    for number in range(LIMIT):
        await client.ask("GET", f"/v1alpha1/builds/bd-{number:016}_1/logs", Accept="text/event-stream")

    refused = await client.ask("GET", "/v1alpha1/builds/bd-1_1/logs", Accept="text/event-stream")

    assert refused.status == 429


async def test_a_request_to_cancel_is_guessed_as_often_only(client: Client) -> None:
    """The id of a build is in its log; the id of the request is the secret that allows to cancel."""
    build = (await client.submit({"containerFile": FILE})).json["buildId"]
    tried = [
        await client.ask("POST", f"/v1alpha1/builds/{build}/cancel", {"requestId": f"{number:016}"})
        for number in range(LIMIT + 1)
    ]

    assert [answer.status for answer in tried] == [403] * LIMIT + [429]


async def test_what_is_known_goes_on(client: Client, harness: Harness) -> None:
    """Others behind the same address, and scripts with one stale id among their good ones, notice nothing."""
    harness.accepted.add("right")
    made = (await client.submit({"containerFile": FILE})).json
    assert (await token_in_body(SUBMIT)(client, KEY)).status == 200
    assert (await account("GET", "/v1alpha3/metrics/builds")(client, "secret")).status == 200
    assert (await login(client, "right")).body == b"true"
    for number in range(LIMIT):
        await WAYS["build"](client, f"bd-{number:016}_1")

    assert (await client.get(f"/v1alpha2/container/{made['requestId']}/status")).status == 200
    assert (await client.get(f"/v1alpha1/builds/{made['buildId']}/status")).status == 200
    assert (await token_in_body(SUBMIT)(client, KEY)).status == 200
    assert (await account("GET", "/v1alpha3/metrics/builds")(client, "secret")).status == 200
    assert (await login(client, "right")).body == b"true"
    assert (await client.submit({"containerImage": "ubuntu:22.04"})).status == 200
    assert (await client.get("/service-info")).status == 200


async def test_the_same_wrong_one_again_is_no_guess(client: Client) -> None:
    """A job whose key was revoked keeps polling; it does not lock out its address."""
    assert {(await WAYS["access token"](client, "stale")).status for _ in range(3 * LIMIT)} == {401}
    assert (await WAYS["build"](client, "bd-1_1")).status == 404


async def test_a_login_at_a_registry_counts_each_time(client: Client) -> None:
    """Each attempt is a request to a foreign server."""
    assert [(await login(client, "wrong")).status for _ in range(LIMIT + 1)] == [200] * LIMIT + [429]


async def test_a_key_is_not_looked_up_any_more(client: Client, keys: OneKey) -> None:
    """Otherwise the right one would be found in spite of the limit."""
    for number in range(LIMIT):
        await WAYS["access token"](client, f"{number}")

    assert (await WAYS["access token"](client, KEY)).status == 429
    assert keys.unknown == LIMIT


def test_secrets_are_kept_as_hashes_only() -> None:
    """A dump of the memory of the limiter shows no passwords."""
    guess_limiter = GuessLimiter(Quota(permits=3, seconds=60))
    guess_limiter.count_miss("a", "password")
    guess_limiter.remember("token")

    kept = [*guess_limiter._counted, *guess_limiter._known]
    assert len(kept) == 2 and all(len(each) == 16 for each in kept)
    assert hashlib.blake2b(b"token", digest_size=16).digest() not in kept
