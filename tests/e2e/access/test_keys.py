"""Issued API keys and accounts at two gateways: limited, revoked, and without a secret in the store."""

import asyncio
import base64
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import bcrypt
import pytest

from gateway.adapters.access.confirmed_cache import FRESH
from swell.store.connections import redis
from swell_embedded.stack import Stack
from tests.e2e.client import PLAIN, Swell, client_of, encoded, until
from tests.e2e.environment import gateway_beside
from tests.e2e.raw import LOGIN, SUBMIT, Answer, ask
from tests.e2e.secrets_used import secret
from tests.e2e.upstreams import Upstreams, running

KEYS, ACCOUNTS = "/v1alpha2/keys", "/v1alpha2/accounts"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the logs of the gateways."""
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
async def gateways(stack: Stack, home: Path) -> AsyncIterator[list[Swell]]:
    """Two gateways of one stack, with an operator's account."""
    (home / "accounts").write_bytes(b"ops:" + bcrypt.hashpw(b"pw", bcrypt.gensalt(4)) + b"\n")
    async with AsyncExitStack() as opened:
        clients = []
        for name in ("one", "two"):
            url, program = gateway_beside(stack, name, ACCOUNTS_FILE=str(home / "accounts"))
            await opened.enter_async_context(running(program, home))
            clients.append(await opened.enter_async_context(client_of(url)))
        yield clients


def with_key(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_a_key_is_dead_at_every_gateway_within_a_second(gateways: list[Swell], upstreams: Upstreams) -> None:
    """It worked at both a moment ago, so both have it in memory."""
    made = (await ask(gateways[0], "POST", KEYS, {"user": "grace"}, **LOGIN)).json
    for gateway in gateways:
        assert (await pull(gateway, made["key"], upstreams)).status == 200

    assert (await ask(gateways[0], "DELETE", f"{KEYS}/{made['id']}", None, **LOGIN)).status == 200

    async def is_refused() -> bool:
        statuses = [(await pull(gateway, made["key"], upstreams)).status for gateway in gateways]
        return statuses == [401, 401]

    await until(is_refused, seconds=FRESH - 1)  # before a gateway reads the key again by itself
    for gateway in gateways:  # in a header, too: the request does not become an anonymous one
        answer = await ask(gateway, "POST", SUBMIT, {"containerImage": upstreams.image()}, **with_key(made["key"]))
        assert answer.status == 401
    assert (await ask(gateways[1], "DELETE", f"{KEYS}/{made['id']}", None, **LOGIN)).status == 404


async def test_a_key_does_what_its_scopes_say(gateways: list[Swell], upstreams: Upstreams) -> None:
    """A user of the keys file limits a key of their own; the limits change at the other gateway as well."""
    one, two = gateways
    answer = await ask(one, "POST", KEYS, {"name": "ci", "scopes": ["pull"]}, **with_key(PLAIN))
    made = answer.json
    assert (answer.status, made["user"], made["scopes"]) == (201, "swell_plain", ["pull"])
    key = made["key"]

    assert (await pull(two, key, upstreams)).status == 200
    build = {"containerFile": encoded(f"FROM {upstreams.image()}\nENV A=1\n"), "towerAccessToken": key}
    refused = await ask(two, "POST", SUBMIT, build)
    assert (refused.status, refused.json["code"]) == (403, "SCOPE_REQUIRED")
    assert (await ask(two, "GET", KEYS, None, **with_key(key))).status == 403
    inspect = {"containerImage": upstreams.image(), "towerAccessToken": key}
    assert (await ask(two, "POST", "/v1alpha1/inspect", inspect)).status == 403

    changes = {"scopes": ["pull", "build"], "repositories": ["quay.io/acme"]}
    changed = await ask(one, "PATCH", f"{KEYS}/{made['id']}", changes, **with_key(PLAIN))
    assert changed.json["repositories"] == ["quay.io/acme"]

    async def is_limited() -> bool:
        return (await pull(two, key, upstreams)).status == 403

    await until(is_limited, seconds=FRESH - 1)
    assert "limited to quay.io/acme" in (await ask(two, "POST", SUBMIT, build)).json["message"]


async def test_users_manage_their_own_keys(gateways: list[Swell]) -> None:
    """Anonymous clients manage none, a user those of the user, and an operator all."""
    made = (await ask(gateways[0], "POST", KEYS, {"user": "heidi"}, **LOGIN)).json
    path = f"{KEYS}/{made['id']}"

    for method, place in (("POST", KEYS), ("GET", KEYS), ("GET", path), ("PATCH", path), ("DELETE", path)):
        body: dict[str, str] | None = {} if method in {"POST", "PATCH"} else None
        assert (await ask(gateways[1], method, place, body)).status == 401, method
    for method in ("GET", "DELETE"):
        assert (await ask(gateways[1], method, path, None, **with_key(PLAIN))).status == 404
    assert (await ask(gateways[1], "POST", KEYS, {"user": "heidi"}, **with_key(PLAIN))).status == 403
    listed = (await ask(gateways[1], "GET", f"{KEYS}?user=heidi", None, **LOGIN)).json["keys"]
    assert [key["id"] for key in listed] == [made["id"]]
    assert "key" not in listed[0]


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


@pytest.mark.parametrize("end", ["disable", "delete"])
async def test_an_account_ends_at_every_gateway_within_a_second(
    gateways: list[Swell], upstreams: Upstreams, end: str
) -> None:
    """With the keys that its user has made, and that both gateways have in memory."""
    name = f"frank-{end}"
    made = (await ask(gateways[0], "POST", ACCOUNTS, {"name": name, "organisation": "lab"}, **LOGIN)).json
    login = basic(name, made["password"])
    key = (await ask(gateways[1], "POST", KEYS, {}, **login)).json["key"]
    assert [(await ask(each, "GET", KEYS, None, **login)).status for each in gateways] == [200, 200]
    assert [(await pull(each, key, upstreams)).status for each in gateways] == [200, 200]

    path = f"{ACCOUNTS}/{name}"
    ended = ("PATCH", path, {"disabled": True}) if end == "disable" else ("DELETE", path, None)
    assert (await ask(gateways[0], *ended, **LOGIN)).status == 200

    assert [(await ask(each, "GET", KEYS, None, **login)).status for each in gateways] == [401, 401]

    async def is_refused() -> bool:
        return [(await pull(each, key, upstreams)).status for each in gateways] == [401, 401]

    await until(is_refused, seconds=FRESH - 1)  # before a gateway reads the key again by itself


@pytest.mark.parametrize(
    ("method", "change"), [("PATCH", {"disabled": True}), ("PATCH", {"password": "another password"}), ("DELETE", None)]
)
async def test_a_session_of_an_account_ends_at_every_gateway_at_once(
    gateways: list[Swell], method: str, change: dict[str, Any] | None
) -> None:
    """The account is read with each request of a browser: a gateway that was used a moment ago has nothing stored."""
    made = (await ask(gateways[0], "POST", ACCOUNTS, {"name": "ivan"}, **LOGIN)).json
    cookies = [await signed_in(each, "ivan", made["password"]) for each in gateways]
    for cookie in cookies:
        for gateway in gateways:
            user = await ask(gateway, "GET", "/auth/session", None, Cookie=cookie)
            assert (user.status, user.json["user"]) == (200, "ivan")

    assert (await ask(gateways[0], method, f"{ACCOUNTS}/ivan", change, **LOGIN)).status == 200

    for cookie in cookies:
        for gateway in gateways:
            for path in ("/auth/session", KEYS, "/view/keys"):
                assert (await ask(gateway, "GET", path, None, Cookie=cookie)).status == 401, path
    await ask(gateways[1], "DELETE", f"{ACCOUNTS}/ivan", None, **LOGIN)


async def signed_in(gateway: Swell, name: str, password: str) -> str:
    """Sign in with the form of the browser; return the cookie of the session."""
    page = await ask(gateway, "GET", "/auth/password")
    [token] = re.findall(r'name="csrf_token" value="([0-9a-f]+)"', page.body.decode())
    form = urlencode({"csrf_token": token, "name": name, "password": password})
    browser = {"Content-Type": "application/x-www-form-urlencoded", "Origin": gateway.url}
    cookie = page.headers["Set-Cookie"].partition(";")[0]
    answer = await ask(gateway, "POST", "/auth/password", form.encode(), Cookie=cookie, **browser)
    assert answer.status == 303, answer.body
    [session] = [each for each in answer.headers.getall("Set-Cookie") if each.startswith("swell_session=")]
    secret("session", session.partition(";")[0].partition("=")[2])
    return str(session.partition(";")[0])


async def test_users_of_accounts_are_no_operators(gateways: list[Swell]) -> None:
    """They manage their keys and their password; an account with the scope `administer` is an operator's."""
    one, two = gateways
    made = (await ask(one, "POST", ACCOUNTS, {"name": "rita"}, **LOGIN)).json
    login, operator = basic("rita", made["password"]), {"name": "root", "scopes": ["administer"]}
    for method, path, body in (
        ("POST", ACCOUNTS, {"name": "mallory"}),
        ("GET", ACCOUNTS, None),
        ("DELETE", f"{ACCOUNTS}/rita", None),
        ("PATCH", f"{ACCOUNTS}/rita", {"scopes": ["administer"]}),
        ("GET", "/v1alpha2/operator/queue", None),
    ):
        assert (await ask(two, method, path, body, **login)).status == 403, path
    root = (await ask(one, "POST", ACCOUNTS, operator, **LOGIN)).json
    queue = await ask(two, "GET", "/v1alpha2/operator/queue", None, **basic("root", root["password"]))
    assert queue.status == 200
    listed = (await ask(two, "GET", ACCOUNTS, None, **basic("root", root["password"]))).json["accounts"]
    assert {"rita", "root"} <= {each["name"] for each in listed}
    assert "password" not in str(listed)

    change = {"password": "another password", "currentPassword": made["password"]}
    assert (await ask(two, "PATCH", f"{ACCOUNTS}/rita", change, **login)).status == 200
    assert (await ask(one, "GET", f"{ACCOUNTS}/rita", None, **login)).status == 401
    assert (await ask(one, "GET", f"{ACCOUNTS}/rita", None, **basic("rita", "another password"))).json["name"] == "rita"


async def test_operators_manage_accounts_with_the_command_line(gateways: list[Swell], tmp_path: Path) -> None:
    """`swell accounts` prints the password once; a new one is read from stdin, and is never an argument."""
    key = (await ask(gateways[0], "POST", KEYS, {"user": "root", "scopes": ["administer"]}, **LOGIN)).json["key"]
    named = {"SWELL_URL": gateways[0].url, "SWELL_TOKEN": key, "XDG_CONFIG_HOME": str(tmp_path)}

    async def run(*words: str, text: str = "") -> str:
        command = (sys.executable, "-m", "swell_cli", "accounts", *words)
        process = await asyncio.create_subprocess_exec(*command, stdin=-1, stdout=-1, env=dict(os.environ) | named)
        async with asyncio.timeout(120):
            out, _ = await process.communicate(text.encode())
        assert process.returncode == 0
        return out.decode()

    password = (await run("create", "cleo", "--email", "cleo@example.org")).strip()
    assert (await ask(gateways[1], "GET", KEYS, None, **basic("cleo", password))).status == 200
    await run("password", "cleo", text="from standard input\n")
    assert (await ask(gateways[1], "GET", KEYS, None, **basic("cleo", "from standard input"))).status == 200
    await run("disable", "cleo")
    assert "cleo" in await run("list")
    assert (await ask(gateways[1], "GET", KEYS, None, **basic("cleo", "from standard input"))).status == 401
    await run("delete", "cleo")
    assert "cleo" not in await run("list")


async def test_no_key_is_in_redis_or_in_a_log(
    stack: Stack, home: Path, gateways: list[Swell], upstreams: Upstreams
) -> None:
    """After it was issued, used in a body and in a header, and refused."""
    made = (await ask(gateways[0], "POST", KEYS, {"user": "judy", "scopes": ["pull"]}, **LOGIN)).json
    secret_part = made["key"].removeprefix("swl_")[:32]
    for _ in range(2):
        await pull(gateways[0], made["key"], upstreams)
        await ask(gateways[0], "GET", KEYS, None, **with_key(made["key"]))
        await ask(gateways[0], "DELETE", f"{KEYS}/{made['id']}", None, **LOGIN)

    async with redis.connect(stack.env["SWELL_REDIS_URL"]) as state:
        dumps = [await state.dump(name) or b"" for name in await state.keys("*")]
        names = await state.keys("*")
    logs = [path.read_bytes() for path in home.glob("*.log")]

    assert [log for log in logs if made["id"].encode() in log]
    assert not [value for value in (*dumps, *names, *logs) if secret_part.encode() in value]


async def pull(gateway: Swell, key: str, upstreams: Upstreams) -> Answer:
    return await ask(gateway, "POST", SUBMIT, {"containerImage": upstreams.image(), "towerAccessToken": key})
