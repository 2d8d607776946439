"""The pairing socket, over two gateways: who may open it, whose requests it carries, and what survives.

The Platform is a stand-in, a program of its own (`tests/platform`).
"""

import asyncio
import base64
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from swell.store.connections import redis as redis_store
from swell.testing.oidc_issuer import OidcIssuer, serving_issuer
from swell_embedded.processes.child import Child
from swell_embedded.processes.program import Program
from swell_embedded.stack import Stack
from tests.e2e.client import Swell, client_of, until
from tests.e2e.environment import gateway_beside
from tests.e2e.platforms import (
    ALICE,
    BOB,
    OTHERS,
    PAIRING_SECRET,
    WORKSPACE,
    StandIn,
    container_registry,
    open_platform,
    platforms_file,
)
from tests.e2e.raw import ask
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, image_of

POLICY_VIOLATION, GOING_AWAY, TOO_BIG = 1008, 1001, 1009
UNREACHABLE = {502, 503, 504}
AUDIENCE = "swell-tests"
STEP = 4  # seconds that a lease lasts here


class Site(NamedTuple):
    """Two gateways, of which only the first is paired; both accept tokens of the issuer."""

    stack: Stack
    first: Swell
    second: Swell
    programs: list[Program]
    children: list[Child]
    platform: StandIn
    issuer: OidcIssuer
    home: Path


@pytest.fixture(scope="module")
async def site(new_stack: OpenStack, upstreams: Upstreams, tmp_path_factory: Any) -> AsyncIterator[Site]:
    home: Path = tmp_path_factory.mktemp("pairing")
    async with open_platform(home / "stand-in") as platform, serving_issuer() as issuer:
        (home / "issuers.toml").write_text(
            f'[[issuer]]\nname = "lab"\nurl = "{issuer.url}"\nrequired = {{}}\naudience = ["{AUDIENCE}"]\n'
        )
        settings = {
            "OIDC_ISSUERS_FILE": str(home / "issuers.toml"),
            "PLATFORMS_FILE": str(platforms_file(home / "platforms.toml", platform.endpoint)),
            "PLATFORM_SILENCE": "PT4S",
            "LEASE_STEP": f"PT{STEP}S",
            "LEASE_CHECK": "PT1S",
            "SHARED_REGISTRIES": "",
        }
        async with new_stack(home / "stack", **settings) as stack:
            urls, programs = zip(*(gateway_beside(stack, name) for name in ("first", "second")), strict=True)
            children = [await Child.start(program, home) for program in programs]
            try:
                for child in children:
                    await child.ready()
                async with client_of(urls[0]) as first, client_of(urls[1]) as second:
                    own = container_registry(upstreams, upstreams.basic)
                    await platform.knows(credentials={f"/{WORKSPACE}": [own], f"/{OTHERS}": []})
                    await platform.pair(first.url)
                    yield Site(stack, first, second, list(programs), children, platform, issuer, home)
            finally:
                await asyncio.gather(*(child.stop() for child in children))


def address(site: Site, secret: str = PAIRING_SECRET, endpoint: str = "", service: str = "tower") -> str:
    named = quote(endpoint or site.platform.endpoint, safe="")
    return f"{site.first.url}/pairing/{service}/token/{secret}?endpoint={named}"


def member(site: Site, token: str, workspace: int | None = None, **more: Any) -> dict[str, Any]:
    """The members of a request that say who sends it."""
    members = {"towerAccessToken": token, "towerEndpoint": site.platform.endpoint, **more}
    return members | ({"towerWorkspaceId": workspace} if workspace else {})


@pytest.mark.row("I9")
async def test_the_first_frame_is_the_pairing(site: Site) -> None:
    """It has an id and a public key; the same pair is used again for a day."""
    frames = []
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.ws_connect(address(site)) as socket:
                frames.append(await socket.receive_json(timeout=10))

    assert {each["@type"] for each in frames} == {"pairing-response"}
    assert frames[0]["pairingId"] == frames[1]["pairingId"]
    assert frames[0]["msgId"] != frames[1]["msgId"]
    key = load_der_public_key(base64.b64decode(frames[0]["publicKey"]))
    assert isinstance(key, RSAPublicKey)
    assert key.key_size == 2048
    assert "packets" not in frames[0]


@pytest.mark.row("I10")
async def test_a_heartbeat_is_answered_until_the_pairing_is_gone(site: Site) -> None:
    """Then the socket is closed, so that the Platform pairs again."""
    async with aiohttp.ClientSession() as session, session.ws_connect(address(site)) as socket:
        await socket.receive_json(timeout=10)
        await socket.send_json({"@type": "pairing-heartbeat", "msgId": "1", "later": {}})
        answer = await socket.receive_json(timeout=10)
        assert answer["@type"] == "pairing-heartbeat"
        assert answer["msgId"] not in {"", "1"}

        async with redis_store.connect(site.stack.env["SWELL_REDIS_URL"]) as redis:
            names = [key async for key in redis.scan_iter("swell:encrypted:pairing:*")]
            assert await redis.delete(*names) == 1
        await socket.send_json({"@type": "pairing-heartbeat", "msgId": "2"})
        frame = await socket.receive(timeout=10)
    assert (frame.type, frame.data) == (aiohttp.WSMsgType.CLOSE, GOING_AWAY)
    await site.platform.pair(site.first.url)


@pytest.mark.parametrize(
    ("secret", "endpoint", "service"),
    [
        ("guessed", "", "tower"),
        (PAIRING_SECRET, "https://another.example.org/api", "tower"),
        (PAIRING_SECRET, "", "another"),
    ],
)
async def test_a_stranger_gets_no_request_of_a_user(
    site: Site, upstreams: Upstreams, secret: str, endpoint: str, service: str
) -> None:
    """The socket is closed at once; a token that is sent meanwhile goes to the real Platform."""
    url = address(site, secret, endpoint, service)
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        status, _ = await site.first.post(containerImage=upstreams.image(), **member(site, BOB))
        frame = await socket.receive(timeout=10)

    assert (frame.type, frame.data) == (aiohttp.WSMsgType.CLOSE, POLICY_VIOLATION)
    assert status == 200


async def test_other_paths_take_no_socket(site: Site) -> None:
    """The rest of the API is plain HTTP."""
    async with aiohttp.ClientSession() as session:
        for path in ("/", "/v1alpha2/container", "/pairing", "/v2/"):
            with suppress(aiohttp.WSServerHandshakeError):
                async with session.ws_connect(f"{site.first.url}{path}") as socket:
                    assert (await socket.receive(timeout=10)).type == aiohttp.WSMsgType.CLOSE


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (["x" * (1 << 20) + "x"], TOO_BIG),
        (['{"@type":"pairing-heartbeat"}'] * 1000, POLICY_VIOLATION),
        pytest.param([], GOING_AWAY, marks=pytest.mark.full),
    ],
)
async def test_what_a_platform_may_send_is_bounded(site: Site, messages: list[str], code: int) -> None:
    """A message that is too large, too many messages, and silence close the socket."""
    async with aiohttp.ClientSession() as session, session.ws_connect(address(site)) as socket:
        with suppress(ConnectionError):
            for message in messages:
                await socket.send_str(message)
        answers = 0
        while (frame := await socket.receive(timeout=20)).type is aiohttp.WSMsgType.TEXT:
            answers += 1

    # the close frame of a flooded socket is lost if the client still sends
    assert frame.data == code or (len(messages) > 1 and frame.data is None), frame
    assert answers < 500  # 300 at once, and more of them the slower the machine is


async def test_a_gateway_uses_the_socket_of_another(site: Site, upstreams: Upstreams) -> None:
    """The second gateway holds none; credentials are found through it, too."""
    private = image_of(upstreams.basic)

    status, answer = await site.second.post(containerImage=private, **member(site, ALICE, WORKSPACE))
    refused, _ = await site.second.post(containerImage=private, **member(site, BOB, OTHERS))

    assert (status, refused) == (200, 400), answer


async def test_a_platform_that_is_not_connected_is_503(site: Site, upstreams: Upstreams) -> None:
    """The request waits for some seconds, and then has a clear error; it is not stored for later."""
    await site.platform.knows(tokens={"later": "alice"})
    await site.platform.pair()
    try:
        status, answer = await site.second.post(containerImage=upstreams.image(), **member(site, "later"))
        assert (status, answer["code"]) == (503, "UNAVAILABLE")
        assert "not connected" in answer["message"]
    finally:
        await site.platform.knows(tokens={ALICE: "alice", BOB: "bob"})
        await site.platform.pair(site.first.url)
    assert "later" not in {each["token"] for each in await site.platform.requests()}


async def test_authenticated_packets_are_used_when_both_sides_offer_them(site: Site, upstreams: Upstreams) -> None:
    """The new pairing says so, and the private image is opened with a packet of version 2."""
    await site.platform.knows(tokens={ALICE: "alice", BOB: "bob", "alice-2": "alice"})
    await site.platform.pair(site.first.url, packets="1,2")
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{address(site)}&packets=2,9") as socket:
        assert (await socket.receive_json(timeout=10))["packets"] == 2
    who = member(site, "alice-2", WORKSPACE, workflowId="packets")

    status, answer = await site.first.post(containerImage=image_of(upstreams.basic), **who)

    assert status == 200, answer
    await site.platform.pair(site.first.url)


@pytest.mark.row("I11")
async def test_answers_in_any_order_reach_their_requests(site: Site, upstreams: Upstreams) -> None:
    """Thirty users at once at two gateways; half of them have no login, and are refused."""
    users = {f"user{number}": {"id": 100 + number, "userName": f"user{number}"} for number in range(30)}
    await add_users(site, upstreams, users, delay=0.3)

    results = await asyncio.gather(*(submit(site, upstreams, number) for number in range(30)))

    assert results == [200 if number % 2 else 400 for number in range(30)]


async def test_kills_lose_no_request_and_mix_up_no_answers(site: Site, upstreams: Upstreams) -> None:
    """Both gateways are killed at random moments, while they hold sockets, and serve users of a Platform and an issuer.

    Each request has the right answer, or an error that says to try again, or its connection breaks. Sent again, it has
    the right answer: a user with a login gets the image, one without does not, and each is who the token says.
    """
    users = {f"user{number}": {"id": 200 + number, "userName": f"user{number}"} for number in range(40)}
    await add_users(site, upstreams, users, delay=0.5)
    await site.platform.pair(site.first.url, site.second.url)

    async def kill() -> None:
        for _ in range(4):
            await asyncio.sleep(random.uniform(0.1, 0.8))  # noqa: S311
            number = random.randrange(2)  # noqa: S311
            site.children[number].send(signal.SIGKILL)
            await site.children[number].stop()
            site.children[number] = await Child.start(site.programs[number], site.home)
            await site.children[number].ready()

    async def until_answered(send: Callable[[], Awaitable[int]], gap: float) -> int:
        await asyncio.sleep(gap)
        async with asyncio.timeout(120):
            while (status := await send()) in UNREACHABLE | {0}:  # noqa: ASYNC110  it is in another process
                await asyncio.sleep(0.2)
        return status

    killing = asyncio.create_task(kill())
    pulls = (until_answered(partial(submit, site, upstreams, number), number * 0.1) for number in range(40))
    keys = (until_answered(partial(key_of, site, number), number * 0.1) for number in range(40))
    results = await asyncio.gather(*pulls, *keys)
    await killing

    assert results[:40] == [200 if number % 2 else 400 for number in range(40)]
    assert results[40:] == [201 if number % 2 else 401 for number in range(40)]
    await site.platform.knows(delay=0.0)
    await site.platform.pair(site.first.url)


async def add_users(site: Site, upstreams: Upstreams, users: dict[str, Any], **more: Any) -> None:
    """Add *users*, each with a token and a workspace; those with odd numbers have a login there."""
    own = container_registry(upstreams, upstreams.basic)
    workspaces = {user: str(5000 + fields["id"]) for user, fields in users.items()}
    logins = {f"/{workspace}": [own] if int(workspace) % 2 else [] for workspace in workspaces.values()}
    await site.platform.knows(
        users={"alice": {"id": 1, "userName": "alice"}, "bob": {"id": 2, "userName": "bob"}} | users,
        tokens={ALICE: "alice", BOB: "bob"} | {f"token-{fields['id']}": user for user, fields in users.items()},
        members={str(WORKSPACE): ["alice"], str(OTHERS): ["bob"]} | {each: [user] for user, each in workspaces.items()},
        credentials={f"/{WORKSPACE}": [own], f"/{OTHERS}": []} | logins,
        **more,
    )
    site.platform.base = min(fields["id"] for fields in users.values())


async def submit(site: Site, upstreams: Upstreams, number: int) -> int:
    """Request the private image for the user *number*, at one of the gateways; 0 if the connection breaks."""
    user = site.platform.base + number
    gateway = site.first if number % 4 < 2 else site.second
    try:
        status, answer = await gateway.post(
            containerImage=image_of(upstreams.basic), **member(site, f"token-{user}", 5000 + user)
        )
    except (aiohttp.ClientError, OSError):
        return 0
    assert status == 200 or answer["message"]
    return status


async def key_of(site: Site, number: int) -> int:
    """Make a key for the user *number* of the issuer, at one of the gateways; those with even numbers are forged."""
    user = f"user{number}"
    token = site.issuer.token(AUDIENCE, sub=user) if number % 2 else site.issuer.unsigned(AUDIENCE, sub=user)
    gateway = site.first if number % 4 < 2 else site.second
    try:
        answer = await ask(gateway, "POST", "/v1alpha2/keys", {}, Authorization=f"Bearer {token}")
    except (aiohttp.ClientError, OSError):
        return 0
    assert answer.json.get("user") == f"oidc:lab:{user}" if answer.status == 201 else answer.json["message"]
    return answer.status


@pytest.mark.full
async def test_the_token_of_a_run_lives_as_long_as_the_run(site: Site, upstreams: Upstreams) -> None:
    """Longer than one step while it runs; at most a step after its end."""
    await site.platform.knows(runs={"run1": {"status": "RUNNING"}, "run2": {"status": "SUCCEEDED"}})
    tokens = []
    for run in ("run1", "run2"):
        who = member(site, ALICE, WORKSPACE, workflowId=run)
        status, answer = await site.first.post(containerImage=upstreams.image(), **who)
        assert status == 200, answer
        tokens.append(answer["targetImage"].partition("/")[2].rpartition(":")[0])
    live, ended = tokens

    async def is_gone(name: str) -> bool:
        return (await site.first.read(f"/v2/{name}/manifests/docker"))[0] == 404

    async def only_the_ended_one_is_gone() -> bool:
        assert not await is_gone(live)
        return await is_gone(ended)

    await until(only_the_ended_one_is_gone)
    await site.platform.knows(runs={"run1": {"status": "SUCCEEDED"}})
    await until(lambda: is_gone(live))


async def test_a_client_holds_renews_and_returns_a_lease(site: Site, upstreams: Upstreams) -> None:
    """Any client, without a Platform; a lease that was returned, and one of another token, are unknown."""
    answer = await site.first.submit(containerImage=upstreams.image())
    path = f"/v1alpha2/container/{answer['requestId']}/lease"

    status, lease = await site.first.post(path)
    assert status == 200, lease
    assert lease["tokenExpiration"] == answer["expiration"][:19] + "Z"
    assert lease["latestExpiration"] > lease["tokenExpiration"]
    status, renewed = await site.second.post(f"{path}?leaseId={lease['leaseId']}")
    assert (status, renewed["leaseId"]) == (200, lease["leaseId"])
    assert (await site.first.delete(f"{path}?leaseId={lease['leaseId']}"))[0] == 200
    assert (await site.first.delete(f"{path}?leaseId={lease['leaseId']}"))[0] == 404
    assert (await site.first.delete(path))[0] == 400
    assert (await site.first.post(f"{path}?leaseId=another"))[0] == 404
    assert (await site.first.post("/v1alpha2/container/unknown0unknown/lease"))[0] == 404


async def test_no_secret_is_in_the_logs_or_in_the_stores(site: Site, upstreams: Upstreams) -> None:
    """After all of that: tokens, the secret of the pairing and the password of the registry, in any file of the stack.

    The secret is also sent where it is no socket. Only the operator's own auth files have the password.
    """
    for path in (f"/pairing/tower/token/{PAIRING_SECRET}", f"//pairing/x/{PAIRING_SECRET}?a=1"):
        assert (await site.first.get(path))[0] == 404
    async with redis_store.connect(site.stack.env["SWELL_REDIS_URL"]) as redis:
        await redis.save()
    login = container_registry(upstreams, upstreams.basic)["secret"]
    basic = base64.b64encode(f"{login['userName']}:{login['password']}".encode())
    secrets = [each.encode() for each in (PAIRING_SECRET, ALICE, BOB, "token-101", login["password"])] + [basic]

    files = [each for each in site.home.rglob("*") if each.is_file() and not {"stand-in", "auth"} & set(each.parts)]
    assert any(each.suffix == ".log" for each in files)
    found = set()
    for each in files:
        with suppress(FileNotFoundError):  # it was temporary
            content = each.read_bytes()
            found |= {(str(each.relative_to(site.home)), secret) for secret in secrets if secret in content}
    assert found == set()
