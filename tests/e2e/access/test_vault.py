"""Stored credentials, with real services and a private registry: used for their owner's requests, and for no others."""

import asyncio
import json
from asyncio import Task
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest

from swell.store.connections import redis
from swell_embedded.ports import Ports
from swell_embedded.stack import Stack
from tests.e2e.busybox import FORMS
from tests.e2e.client import Swell, client_of, encoded, until
from tests.e2e.environment import gateway_beside
from tests.e2e.raw import LOGIN, SUBMIT, Answer, ask
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, image_of, running

VAULT, KEYS, INSPECT = "/v1alpha2/credentials", "/v1alpha2/keys", "/v1alpha1/inspect"


@pytest.fixture(scope="module")
async def closed(new_stack: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack that shares no upstream registry, with an operator's account."""
    home: Path = tmp_path_factory.mktemp("vault")
    (home / "accounts").write_bytes(b"ops:" + bcrypt.hashpw(b"pw", bcrypt.gensalt(4)) + b"\n")
    async with new_stack(home / "stack", SHARED_REGISTRIES="", ACCOUNTS_FILE=str(home / "accounts")) as stack:
        yield stack


@pytest.fixture(scope="module")
async def swell(closed: Stack) -> AsyncIterator[Swell]:
    async with client_of(closed.url) as client:
        yield client


@pytest.fixture(scope="module")
def login(upstreams: Upstreams) -> dict[str, str]:
    """The user name and the password of the private registry."""
    entry = json.loads(upstreams.auth_file.read_text())["auths"][upstreams.basic]["auth"]
    user, _, password = b64decode(entry).decode().partition(":")
    return {"userName": user, "password": password}


async def key_of(swell: Swell, user: str, **more: Any) -> dict[str, str]:
    """The header with a new key of *user*, with all scopes of users."""
    scopes = ["build", "pull", "inspect", "mirror", "scan", "keys"]
    answer = await ask(swell, "POST", KEYS, {"user": user, "scopes": scopes, **more}, **LOGIN)
    assert answer.status == 201, answer.body
    return {"Authorization": f"Bearer {answer.json['key']}"}


def requests(upstreams: Upstreams) -> dict[str, tuple[str, dict[str, Any]]]:
    """Requests that need the private image, by what they do; each uses caches of its own."""
    private, public = image_of(upstreams.basic, FORMS[0]), upstreams.image()
    return {
        "pull": (SUBMIT, {"containerImage": private}),
        "inspect": (INSPECT, {"containerImage": private}),
        "include": (SUBMIT, {"containerImage": public, "containerIncludes": [private]}),
        "build": (SUBMIT, {"containerFile": encoded(f"FROM {private}\nLABEL by=vault\n")}),
        "copy": (SUBMIT, {"containerFile": encoded(f"FROM {public}\nCOPY --from={private} /bin/busybox /copied\n")}),
        "dry run": (SUBMIT, {"containerFile": encoded(f"FROM {private}\nLABEL by=dry\n"), "dryRun": True}),
        "scan": (SUBMIT, {"containerImage": image_of(upstreams.basic, FORMS[1]), "scanMode": "async"}),
        "freeze": (
            SUBMIT,
            {"containerImage": private, "freeze": True, "buildRepository": f"{upstreams.basic}/frozen/by-vault"},
        ),
        "mirror": (
            SUBMIT,
            {"containerImage": private, "mirror": True, "buildRepository": f"{upstreams.mistaken}/mirrored/by-vault"},
        ),
    }


KINDS = ("pull", "inspect", "include", "build", "copy", "dry run", "scan", "freeze", "mirror")


@pytest.fixture(scope="module")
async def uses(swell: Swell, upstreams: Upstreams, login: dict[str, str]) -> AsyncIterator[dict[str, Task[None]]]:
    """The uses of credentials by their kinds; they run at the same time."""
    tasks = {kind: asyncio.create_task(use(swell, upstreams, login, kind)) for kind in KINDS}
    try:
        yield tasks
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stored_credential_serves_its_owner_only(uses: dict[str, Task[None]], kind: str) -> None:
    """The owner's request succeeds, and fills every cache on its way; then the same request of others is refused."""
    await uses[kind]


async def use(swell: Swell, upstreams: Upstreams, login: dict[str, str], kind: str) -> None:
    path, body = requests(upstreams)[kind]
    owner, other = await key_of(swell, f"owner-{kind.replace(' ', '-')}"), await key_of(swell, "other")
    before = await ask(swell, "POST", path, with_token(body, owner), **owner)
    for registry in (upstreams.basic, upstreams.mistaken):  # two names of one registry; mirrors need two
        stored = await ask(swell, "PUT", f"{VAULT}/{registry}", login, **owner)
        assert stored.status == 200, stored.body

    answer = await ask(swell, "POST", path, with_token(body, owner), **owner)

    assert answer.status == 200, answer.body
    if kind == "mirror":
        await mirrored(swell, answer.json["buildId"])
    elif (build_id := answer.json.get("buildId")) and kind != "dry run":
        assert (await swell.ended(build_id))["succeeded"], await swell.log(build_id)
    elif kind == "scan":
        await scanned(swell, answer.json["scanId"])
    elif kind in {"pull", "include"}:
        await pulled(swell, answer)
    for headers in ({}, other):
        refused = await ask(swell, "POST", path, with_token(body, headers), **headers)
        assert refused.status in {400, 403}, refused.body
    assert before.status in {400, 403}


def with_token(body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    """*body* with the token of *headers*, which mirrors need there."""
    token = headers.get("Authorization", "").removeprefix("Bearer ")
    return body | ({"towerAccessToken": token} if token and body.get("mirror") else {})


async def mirrored(swell: Swell, mirror_id: str) -> None:
    """Wait until the mirror has ended, and check that it succeeded."""

    async def ended() -> dict[str, Any] | None:
        _, record = await swell.get(f"/v1alpha1/mirrors/{mirror_id}")
        return record if record["status"] == "COMPLETED" else None

    record = await until(ended, seconds=120)
    assert record["exitCode"] == 0, record


async def scanned(swell: Swell, scan_id: str) -> None:
    """Wait until the scan has ended, and check that the scanner could read the image."""

    async def ended() -> dict[str, Any] | None:
        _, record = await swell.get(f"/v1alpha1/scans/{scan_id}")
        return record if record["status"] != "PENDING" else None

    record = await until(ended, seconds=120)
    assert record["status"] == "SUCCEEDED", record


async def pulled(swell: Swell, answer: Answer) -> None:
    """Pull the image of *answer*, with its layers."""
    name, _, tag = answer.json["targetImage"].partition("/")[2].rpartition(":")
    manifest = json.loads(await swell.bytes(f"/v2/{name}/manifests/{tag}"))
    for layer in manifest["layers"]:
        await swell.bytes(f"/v2/{name}/blobs/{layer['digest']}")


async def test_after_its_deletion_nothing_uses_a_credential(
    swell: Swell, closed: Stack, upstreams: Upstreams, login: dict[str, str], tmp_path: Path
) -> None:
    """Within a second, at two gateways: new requests, and manifests and layers of tokens that are in all caches."""
    owner = await key_of(swell, "leaver")
    where, body = f"{VAULT}/{upstreams.basic}", {"containerImage": image_of(upstreams.basic, FORMS[0])}
    assert (await ask(swell, "PUT", where, login, **owner)).status == 200
    answer = await ask(swell, "POST", SUBMIT, body, **owner)
    name, _, tag = answer.json["targetImage"].partition("/")[2].rpartition(":")
    manifest = f"/v2/{name}/manifests/{tag}"
    layer = json.loads(await swell.bytes(manifest))["layers"][0]["digest"]
    paths = (manifest, f"/v2/{name}/blobs/{layer}")
    ports = Ports.free()
    url, program = gateway_beside(closed, "second", OPERATOR_LISTEN=f"127.0.0.1:{ports.metrics}")
    async with running(program, tmp_path), client_of(url) as second:

        async def is_repeated() -> bool:
            """Whether the second gateway answers the pulls before the handler."""
            hits = [await _repeated(ports.metrics)]
            for path in (*paths, *paths):
                assert (await ask(second, "GET", path)).status in {200, 307}
                hits.append(await _repeated(ports.metrics))
            return hits[4] - hits[2] == 2

        await until(is_repeated, seconds=60)

        assert (await ask(swell, "DELETE", where, None, **owner)).status == 204

        async def is_refused() -> bool:
            pulls = [(await ask(gateway, "GET", path)).status for gateway in (swell, second) for path in paths]
            return pulls == [403] * 4 and (await ask(swell, "POST", SUBMIT, body, **owner)).status in {400, 403}

        await until(is_refused, seconds=4)  # before a gateway reads the vault again by itself
    assert (await ask(swell, "DELETE", where, None, **owner)).status == 404
    assert (await ask(swell, "PUT", where, login, **owner)).status == 200
    assert (await ask(swell, "POST", SUBMIT, body, **owner)).status == 200
    assert (await ask(swell, "GET", manifest)).status == 403


async def _repeated(port: int) -> float:
    """How many pulls a gateway has answered before the handler, by the metrics at its operator *port*."""
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as answer:
        text = await answer.text()
    lines = [line for line in text.splitlines() if line.startswith("swell_cache_lookups_total") and '"pulls"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines if '"hit"' in line)


async def test_a_build_reads_a_stored_credential_that_is_for_builds(
    swell: Swell, closed: Stack, upstreams: Upstreams, login: dict[str, str]
) -> None:
    """The step gets the password, and the log masks it; its key without the flag, and other users, are refused."""
    owner, other = await key_of(swell, "packer"), await key_of(swell, "other-packer")
    where, password = f"{VAULT}/{upstreams.basic}", login["password"]
    step = f'RUN --mount=type=secret,id=a,env=A test $(echo $A | rev) = {password[::-1]} && echo "got $A in $((6 * 7))"'
    request = {
        "containerFile": encoded(f"FROM {upstreams.image()}\n{step}\n"),
        "buildSecrets": {"a": f"vault:{upstreams.basic}"},
    }
    assert (await ask(swell, "PUT", where, login, **owner)).status == 200
    assert (await ask(swell, "POST", SUBMIT, request, **owner)).status == 403
    stored = await ask(swell, "PUT", where, {**login, "buildSecret": True}, **owner)
    assert stored.json["buildSecret"] is True

    answer = await ask(swell, "POST", SUBMIT, request, **owner)

    assert answer.status == 200, answer.body
    assert (await swell.ended(answer.json["buildId"]))["succeeded"], await swell.log(answer.json["buildId"])
    log = await swell.log(answer.json["buildId"])
    assert "got *** in 42" in log
    assert password not in log
    for headers in ({}, other):
        assert (await ask(swell, "POST", SUBMIT, request, **headers)).status == 403
    async with redis.connect(closed.env["SWELL_REDIS_URL"]) as state:
        submission = await state.get(f"swell:build:{answer.json['buildId']}:submission") or b""
    assert isinstance(submission, bytes)
    assert b'"vault.' in submission
    assert password.encode() not in submission
    assert (await ask(swell, "DELETE", where, None, **owner)).status == 204
    assert (await ask(swell, "POST", SUBMIT, request, **owner)).status == 403


async def test_the_members_of_an_organisation_use_its_credential(
    swell: Swell, upstreams: Upstreams, login: dict[str, str]
) -> None:
    """Operators store it; members use and see it, and do not change it."""
    member, stranger = await key_of(swell, "member", organisation="lab"), await key_of(swell, "guest")
    where, body = f"{VAULT}/{upstreams.basic}?org=lab", {"containerImage": image_of(upstreams.basic, FORMS[1])}
    assert (await ask(swell, "PUT", where, login, **member)).status == 403
    assert (await ask(swell, "PUT", where, login, **LOGIN)).status == 200

    assert (await ask(swell, "POST", SUBMIT, body, **member)).status == 200
    assert (await ask(swell, "POST", SUBMIT, body, **stranger)).status in {400, 403}
    listed = (await ask(swell, "GET", VAULT, None, **member)).json["credentials"]
    assert [(each["registry"], each["organisation"]) for each in listed] == [(upstreams.basic, "lab")]
    assert (await ask(swell, "DELETE", where, None, **member)).status == 403
    assert (await ask(swell, "DELETE", where, None, **LOGIN)).status == 204


async def test_a_credential_for_a_path_opens_only_what_is_below_it(
    swell: Swell, upstreams: Upstreams, login: dict[str, str]
) -> None:
    """Paths count in whole components."""
    owner = await key_of(swell, "careful")
    body = {"containerImage": image_of(upstreams.basic, FORMS[0])}
    for path, status in (("libr", {400, 403}), ("library", {200})):
        stored = await ask(swell, "PUT", f"{VAULT}/{upstreams.basic}/{path}", login, **owner)
        assert stored.json["registry"] == f"{upstreams.basic}/{path}"
        assert (await ask(swell, "POST", SUBMIT, body, **owner)).status in status


async def test_a_password_is_shown_nowhere_and_stored_encrypted(
    swell: Swell, closed: Stack, upstreams: Upstreams, login: dict[str, str]
) -> None:
    """Not in a response, and not in Redis."""
    owner = await key_of(swell, "ada")
    where = f"{VAULT}/{upstreams.basic}"
    answers = [
        await ask(swell, "PUT", where, login, **owner),
        await ask(swell, "GET", where, None, **owner),
        await ask(swell, "GET", VAULT, None, **owner),
    ]
    secret = login["password"].encode()

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert answers[1].json["userName"] == login["userName"]
    assert not any(secret in answer.body for answer in answers)
    async with redis.connect(closed.env["SWELL_REDIS_URL"]) as state:
        stored = [await state.get(key) async for key in state.scan_iter("swell:*", _type="string")]
    assert any(b"swell1." in (value or b"") for value in stored)
    assert not any(secret in (value or b"") for value in stored)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("{}", {"userName": "ada", "password": "wrong"}),
        ("{}", {"userName": "ada"}),
        ("{}", {"userName": "", "password": "x"}),
        ("{}", {"userName": "a" * 501, "password": "x"}),
        ("{}", {"userName": "a", "password": "x" * 16_385}),
        ("{}", {"userName": "a:b", "password": "x"}),
        ("1.dkr.ecr.eu-west-1.amazonaws.com", {"userName": "arn:aws:iam::1:role/operator", "password": "x"}),
        ("{}/a@b", {"userName": "a", "password": "x"}),
        ("no registry", {"userName": "a", "password": "x"}),
        ("169.254.169.254", {"userName": "a", "password": "x"}),
        ("a" * 300, {"userName": "a", "password": "x"}),
    ],
)
async def test_a_credential_that_its_registry_refuses_is_not_stored(
    swell: Swell, upstreams: Upstreams, path: str, body: dict[str, str]
) -> None:
    """A wrong one, and anything malformed; the request to the registry passes the outbound guard."""
    owner = await key_of(swell, "eve")

    refused = await ask(swell, "PUT", f"{VAULT}/{path.format(upstreams.basic)}".replace(" ", "%20"), body, **owner)

    assert refused.status == 400, refused.body
    assert (await ask(swell, "GET", VAULT, None, **owner)).json["credentials"] == []


async def test_only_the_owner_and_operators_reach_a_vault(
    swell: Swell, upstreams: Upstreams, login: dict[str, str]
) -> None:
    """Others get no sign of it, and a key without the scope `keys` stores nothing."""
    owner, other = await key_of(swell, "grace"), await key_of(swell, "mallory")
    where = f"{VAULT}/{upstreams.basic}"
    assert (await ask(swell, "PUT", where, login, **owner)).status == 200

    assert (await ask(swell, "GET", where, None, **other)).status == 404
    for method in ("GET", "PUT", "DELETE"):
        answer = await ask(swell, method, f"{where}?user=grace", login if method == "PUT" else None, **other)
        assert answer.status == 403, answer.body
        assert (await ask(swell, method, where, login if method == "PUT" else None)).status == 401
    limited = await ask(swell, "POST", KEYS, {"user": "grace", "scopes": ["pull"]}, **LOGIN)
    assert (await ask(swell, "DELETE", where, None, Authorization=f"Bearer {limited.json['key']}")).status == 403
    assert (await ask(swell, "GET", f"{where}?user=grace", None, **LOGIN)).status == 200
    assert (await ask(swell, "DELETE", f"{where}?user=grace", None, **LOGIN)).status == 204


async def test_many_changes_at_once_lose_nothing(swell: Swell, upstreams: Upstreams, login: dict[str, str]) -> None:
    """Each change reads the vault, and writes it only if no other one has changed it."""
    owner = await key_of(swell, "busy")
    paths = [f"{VAULT}/{upstreams.basic}/path-{number}" for number in range(6)]

    answers = await asyncio.gather(*(ask(swell, "PUT", path, login, **owner) for path in paths))

    assert [answer.status for answer in answers] == [200] * 6
    assert len((await ask(swell, "GET", VAULT, None, **owner)).json["credentials"]) == 6
