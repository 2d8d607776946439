"""One stack in which every kind of secret is used, and then a search for them in all that it has stored, said or sent.

Tokens of containers are no secrets in this sense: their names are in the store, as those of builds are.
"""

import asyncio
import base64
import hashlib
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import bcrypt
import pytest

from swell.testing.oidc_issuer import CLIENT, CLIENT_SECRET, OidcIssuer, serving_issuer
from swell_embedded.stack import Stack
from tests.e2e import secrets_used
from tests.e2e.access.test_sign_in import Browser
from tests.e2e.client import SECRET, Swell, client_of, encoded, until
from tests.e2e.environment import of_this_machine
from tests.e2e.places import Place, found_in, in_files, in_redis, in_s3
from tests.e2e.platforms import (
    ALICE,
    PAIRING_SECRET,
    WORKSPACE,
    StandIn,
    container_registry,
    open_platform,
    platforms_file,
)
from tests.e2e.raw import SUBMIT, ask
from tests.e2e.secrets_used import search, secrets_of_answer, secrets_of_request
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, image_of
from tests.notice_receivers import SMTP_PASSWORD, SMTP_USER, HttpReceiver, MailServer, http_receiver, mail_server
from tests.otlp_receiver import OtlpReceiver

ADMIN_PASSWORD = "the-password-of-the-operators-account"
KEY = "swell_a-key-in-the-keys-file-of-this-test"
REFRESH = "refresh-token-of-alice-for-this-test"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"a-secret-of-a-webhook-for-tests!").decode()
ADMIN = {"Authorization": "Basic " + base64.b64encode(f"ops:{ADMIN_PASSWORD}".encode()).decode()}


class World(NamedTuple):
    """A stack with all that identifies users and sends notices, and what it sends to."""

    stack: Stack
    home: Path
    swell: Swell
    issuer: OidcIssuer
    platform: StandIn
    traces: OtlpReceiver
    http: HttpReceiver
    mail: MailServer


@pytest.fixture
async def world(new_stack: OpenStack, upstreams: Upstreams, tmp_path: Path) -> AsyncIterator[World]:
    home = tmp_path / "stack"
    async with (
        OtlpReceiver.open() as traces,
        serving_issuer() as issuer,
        open_platform(tmp_path / "platform") as platform,
        http_receiver() as http,
        mail_server(tmp_path) as mail,
    ):
        settings = write_files(tmp_path, issuer, platform, http) | {
            "SHARED_REGISTRIES": "",
            "TRACES_URL": traces.url,
            "TRACE_SAMPLING": "1",
            "LOG_LEVEL": "DEBUG",
            "CA_FILE": str(mail.ca_file),
            "SMTP_HOST": "localhost",
            "SMTP_PORT": str(mail.port),
            "SMTP_FROM": "swell@example.org",
            "SMTP_USER": SMTP_USER,
            "SMTP_PASSWORD": SMTP_PASSWORD,
        }
        async with new_stack(home, **settings) as stack, client_of(stack.url) as swell:
            credential = container_registry(upstreams, upstreams.basic)
            await platform.knows(credentials={f"/{WORKSPACE}": [credential]}, refresh_tokens={REFRESH: "alice"})
            await platform.pair(stack.url)
            yield World(stack, home, swell, issuer, platform, traces, http, mail)


def write_files(folder: Path, issuer: OidcIssuer, platform: StandIn, http: HttpReceiver) -> dict[str, str]:
    """Write the operator's files, and return the settings that name them."""
    contents = {
        "ACCOUNTS_FILE": f"ops:{bcrypt.hashpw(ADMIN_PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n",
        "API_KEYS_FILE": f'[[key]]\nhash = "{hashlib.sha256(KEY.encode()).hexdigest()}"\nuser = "holder"\n'
        'email = "holder@example.org"\nsecrets = ["token"]\n',
        "WEBHOOKS_FILE": f'[[webhook]]\nname = "hook"\nurl = "{http.url("hook")}"\nsecret = "{WEBHOOK_SECRET}"\n',
        "OIDC_ISSUERS_FILE": f'[[issuer]]\nname = "lab"\nurl = "{issuer.url}"\nrequired = {{ sub = "ada*" }}\n'
        f'client_id = "{CLIENT}"\nclient_secret_file = "{folder}/client-secret"\n',
    }
    (folder / "client-secret").write_text(CLIENT_SECRET)
    for name, content in contents.items():
        (folder / name.lower()).write_text(content)
    files = {name: str(folder / name.lower()) for name in contents}
    return files | {"PLATFORMS_FILE": str(platforms_file(folder / "platforms.toml", platform.endpoint))}


async def use_platform(world: World, upstreams: Upstreams) -> None:
    """Pull an image with a credential of a workspace, over the pairing socket."""
    status, answer = await world.swell.post(
        containerImage=image_of(upstreams.basic),
        towerAccessToken=ALICE,
        towerRefreshToken=REFRESH,
        towerEndpoint=world.platform.endpoint,
        towerWorkspaceId=WORKSPACE,
    )
    assert status == 200, answer
    path = "/v2/" + answer["targetImage"].partition("/")[2].replace(":", "/manifests/")
    assert (await world.swell.read(path))[0] == 200


async def use_keys(world: World) -> dict[str, str]:
    """Issue a key, and use it; another one is refused."""
    issued = await ask(world.swell, "POST", "/v1alpha2/keys", {"user": "ada", "scopes": ["inspect", "keys"]}, **ADMIN)
    assert issued.status == 201, issued.body
    key = issued.json["key"]
    assert (await ask(world.swell, "GET", "/v1alpha2/keys", None, Authorization=f"Bearer {key}")).status == 200
    unknown = "swell_" + "unknown-key" * 4
    assert (await ask(world.swell, "POST", SUBMIT, {"towerAccessToken": unknown, "containerImage": "x"})).status == 401
    return {"issued key": key, "unknown key": unknown}


async def use_issuer(world: World) -> dict[str, str]:
    """Sign in with a browser, and send a token of the issuer."""
    token = world.issuer.token(world.stack.url)
    answer = await ask(world.swell, "GET", "/v1alpha2/keys", None, Authorization=f"Bearer {token}")
    assert answer.status == 200, answer.body
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        browser = Browser(session, world.stack.url)
        callback, _ = await browser.sign_in()
        secrets = {"token of the issuer": token, "CSRF token": await browser.token()}
        code = re.search(r"code=([^&]+)", callback)
        assert code
        return secrets | {"session": browser.cookies["swell_session"], "code": code[1]}


async def build_and_scan(world: World, upstreams: Upstreams, login: dict[str, str]) -> dict[str, Any]:
    """Build on a private image with secrets of the operator and of the vault, and scan the result; both end well."""
    headers = {"Authorization": f"Bearer {KEY}"}
    stored = await ask(
        world.swell, "PUT", f"/v1alpha2/credentials/{upstreams.basic}", login | {"buildSecret": True}, **headers
    )
    assert stored.status == 200, stored.body
    steps = (
        f"RUN --mount=type=secret,id=a,env=A test $(echo $A | rev) = {SECRET[::-1]} && echo got $A",
        f"RUN --mount=type=secret,id=b,env=B test $(echo $B | rev) = {login['password'][::-1]} && echo got $B",
    )
    request = {
        "containerFile": encoded("\n".join((f"FROM {image_of(upstreams.basic)}", *steps)) + "\n"),
        "buildSecrets": {"a": "token", "b": f"vault:{upstreams.basic}"},
        "towerAccessToken": KEY,
    }
    answer = await world.swell.submit(**request)
    assert (await world.swell.ended(answer["buildId"]))["succeeded"], await world.swell.log(answer["buildId"])
    return answer


async def scan(world: World, upstreams: Upstreams) -> dict[str, Any]:
    """Scan a private image, which only the stored credential of the key's user opens."""
    answer = await world.swell.submit(containerImage=image_of(upstreams.basic), scanMode="async", towerAccessToken=KEY)

    async def ended() -> dict[str, Any] | None:
        _, record = await world.swell.get(f"/v1alpha1/scans/{answer['scanId']}")
        return record if record["status"] != "PENDING" else None

    record = await until(ended, seconds=120)
    assert record["status"] == "SUCCEEDED", record
    return answer


async def exported(stack: Stack) -> list[dict[str, Any]]:
    """The events of the audit trail, by the command, after the chain was verified."""
    outputs = []
    for command in ("verify", "export"):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.audit", command, env=of_this_machine() | stack.env, stdout=-1
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output
        outputs.append(output)
    return [json.loads(line) for line in outputs[1].splitlines() if line.startswith(b"{")]


async def answers(world: World, *answered: dict[str, Any]) -> AsyncIterator[Place]:
    """What clients read of these requests: records, logs and pages."""
    for answer in answered:
        paths = [f"/v1alpha2/container/{answer['requestId']}", f"/view/containers/{answer['requestId']}"]
        if build_id := answer.get("buildId"):
            paths += [f"/v1alpha1/builds/{build_id}", f"/v1alpha1/builds/{build_id}/logs", f"/view/builds/{build_id}"]
        if scan_id := answer.get("scanId"):
            paths += [f"/v1alpha1/scans/{scan_id}", f"/view/scans/{scan_id}"]
        for path in paths:
            status, body = await world.swell.read(path)
            assert status == 200, (path, body)
            yield path, body


async def test_no_secret_is_stored_said_or_sent(world: World, upstreams: Upstreams) -> None:
    """Redis, JetStream, S3, files, logs, records, pages, traces, notices and the audit trail have none of them."""
    entry = json.loads(upstreams.auth_file.read_text())["auths"][upstreams.basic]["auth"]
    user, _, password = base64.b64decode(entry).decode().partition(":")
    await use_platform(world, upstreams)
    secrets = {
        "key of the keys file": KEY,
        "password of the operator's account": ADMIN_PASSWORD,
        "password of the registry": password,
        "login of the registry": f"{user}:{password}",
        "build secret of the operator": SECRET,
        "token of the Platform": ALICE,
        "refresh token of the Platform": REFRESH,
        "pairing secret": PAIRING_SECRET,
        "client secret at the issuer": CLIENT_SECRET,
        "webhook secret": WEBHOOK_SECRET.removeprefix("whsec_"),
        "password of the mail server": SMTP_PASSWORD,
        **await use_keys(world),
        **await use_issuer(world),
    }
    built = await build_and_scan(world, upstreams, {"userName": user, "password": password})
    scanned = await scan(world, upstreams)

    async def notified() -> bool:
        ids = {each.headers["webhook-id"] for each in world.http.of("hook")}
        return ids == {built["buildId"], scanned["scanId"]} and len(world.mail.messages) == 2

    await until(notified)
    assert world.mail.recipients == ["holder@example.org"] * 2

    async def audited() -> list[dict[str, Any]] | None:
        events = await exported(world.stack)
        return events if "credential.stored" in {event["action"] for event in events} else None

    events = await until(audited)
    expected = {"container.granted", "build.requested", "key.issued", "session.started", "session.refused"}
    assert expected <= {event["action"] for event in events}

    sent = [
        *(("webhook", repr(each).encode()) for each in world.http.received),
        *(("e-mail", message.as_bytes()) for message in world.mail.messages),
        *(("trace", repr(each).encode()) for each in world.traces.spans),
        ("audit trail", json.dumps(events).encode()),
    ]
    places = [*sent, *[each async for each in answers(world, built, scanned)], *await in_s3(world.stack)]
    places += [each async for each in in_redis(world.stack)]
    named = [name for name, _ in places]
    assert {"webhook", "e-mail", "trace"} <= set(named)
    assert sum(name.startswith("redis") for name in named) > 20
    assert any(name.startswith("s3 ") for name in named)
    files = list(in_files(world.home))
    assert {"gateway.log", "builder.log", "scanner.log"} <= {Path(name).name for name, _ in files}
    seen = [hit.partition(" in ")[2] for hit in found_in([*places, *files], {"id": built["buildId"]})]
    assert {"webhook", "e-mail", "trace", "audit trail"} <= set(seen), "the search finds what is there"
    assert {"redis", "logs"} <= {place.split(" ")[0].split("/")[0] for place in seen}
    assert any(place.endswith(".blk") for place in seen), "JetStream"
    assert found_in([*places, *files], secrets) == []


def test_the_search_of_all_stacks_finds_what_is_there(tmp_path: Path) -> None:
    """In any file, binary or in a folder below; not in the files that have the stack's own secrets."""
    value = "a-secret-of-this-test-only"
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "1.blk").write_bytes(b"\0\xff" + base64.b64encode(f"x:{value}".encode()) + b"\0")
    (tmp_path / "gateway.log").write_text(f"token={value}\n")
    (tmp_path / "secrets.json").write_text(value)

    assert sorted(search(tmp_path, secrets={"it": value})) == ["it in gateway.log", "it in nats/1.blk"]
    assert search(tmp_path, secrets={"it": "another-secret-of-this-test"}) == []


def test_what_requests_send_is_registered() -> None:
    """Tokens and passwords in headers, bodies and answers; not what is too short, or names a container."""
    before = dict(secrets_used._used)
    body = {"password": "a long password", "towerAccessToken": "short"}
    secrets_of_request("/x", body, {"Authorization": "Bearer a-long-token"})
    secrets_of_answer("/x", {"key": "swl_a-key-that-is-shown-once", "secret": "whsec_the-secret-of-a-webhook"})
    secrets_of_request("/x", {"towerAccessToken": "abcdefghijklmnopqrstuvwxyz"}, {})
    added = secrets_used._used.keys() - before.keys()
    for value in added:
        del secrets_used._used[value]

    assert added == {"a long password", "a-long-token", "swl_a-key-that-is-shown-once", "the-secret-of-a-webhook"}


def test_the_search_finds_each_form_of_a_secret() -> None:
    """Otherwise, the other test could not fail."""
    secret = "a secret/with+signs & blanks"
    forms = [secret, secret.replace(" ", "%20").replace("/", "%2F").replace("+", "%2B").replace("&", "%26")]
    forms += [base64.b64encode(f"{prefix}{secret} and more".encode()).decode() for prefix in ("", "u:", "us:", "usr:")]
    for form in forms:
        assert found_in([("place", b"before " + form.encode() + b" after")], {"it": secret}) == ["it in place"], form
    assert found_in([("place", b"nothing")], {"it": secret}) == []
