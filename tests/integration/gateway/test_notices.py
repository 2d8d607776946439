"""Notices through their queue, to a real HTTP receiver and a real mail server."""

import asyncio
import base64
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from nats.js.errors import NotFoundError
from redis.asyncio import Redis

from gateway.access.keys import Actor
from gateway.adapters.notices.preferences import RedisPreferences
from gateway.audit.events import NO_AUDIT
from gateway.connections import Connections
from gateway.domain.access.identity import Identity
from gateway.domain.notices import Preference
from gateway.notices.queue import Follow
from gateway.parts.notices import STREAM, NoticeParts, Pace, open_notices
from gateway.settings import Settings
from swell.concurrency.drain import Drain
from swell.encryption import new_key
from swell.jobs.consume import Redelivery
from swell.jobs.dead_letters import DeadLetter, dead_letters, replay
from swell.jobs.messages import BuildDone
from swell.jobs.publish import publish
from swell.jobs.settings import NatsSettings
from swell.jobs.streams import Nats
from swell.store.connections.settings import RedisSettings, S3Settings
from tests.notice_receivers import (
    SMTP_PASSWORD,
    SMTP_USER,
    HttpReceiver,
    MailServer,
    http_receiver,
    mail_server,
)

KEY = b"k" * 32
SECRET = "whsec_" + base64.b64encode(KEY).decode()
PACE = Pace(Redelivery(most=3, longest_pause=timedelta(seconds=0.1)), pause=0.01, answer=1)
ADA = Identity(user="ada", email="ada@example.org")


@pytest.fixture
async def receiver() -> AsyncIterator[HttpReceiver]:
    async with http_receiver() as receiver:
        yield receiver


@pytest.fixture
async def mail(tmp_path: Path) -> AsyncIterator[MailServer]:
    async with mail_server(tmp_path) as server:
        yield server


@asynccontextmanager
async def sending(nats: Nats, redis: Redis, **settings: Any) -> AsyncIterator[Follow]:
    """A gateway's notices with these settings, and an empty queue."""
    with suppress(NotFoundError):
        await nats.stream.delete_stream(STREAM.name or "")
    async with gateway(nats, redis, **settings) as parts:
        yield parts.follow


@asynccontextmanager
async def gateway(nats: Nats, redis: Redis, **settings: Any) -> AsyncIterator[NoticeParts]:
    """What one gateway does for notices."""
    unused: dict[str, Any] = dict.fromkeys(("registry_proxy", "metrics"), "unused")
    unused |= {"redis": RedisSettings(url=""), "nats": NatsSettings(url=""), "s3": S3Settings(endpoint="")}
    urls: dict[str, Any] = {"server_url": "https://swell.example.org", "build_repository": "registry.example.org/b"}
    made = Settings(**urls, **unused, **settings)
    connections = Connections(redis, nats, *[cast(Any, None)] * 6)
    async with open_notices(made, connections, Drain(), NO_AUDIT, PACE) as notices:
        yield notices


def webhooks(folder: Path, receiver: HttpReceiver, *names: str) -> Path:
    """A file with a webhook for each path of *receiver*."""
    path = folder / "webhooks.toml"
    tables = (f'[[webhook]]\nname = "{name}"\nurl = "{receiver.url(name)}"\nsecret = "{SECRET}"\n' for name in names)
    path.write_text("".join(tables))
    return path


def mail_settings(mail: MailServer) -> dict[str, Any]:
    return {
        "smtp_host": "localhost",
        "smtp_port": mail.port,
        "smtp_user": SMTP_USER,
        "smtp_password": SMTP_PASSWORD,
        "smtp_from": "swell@example.org",
        "ca_file": mail.ca_file,
    }


async def end(nats: Nats, build_id: str = "bd-1_1", image: str = "registry.example.org/b/tool:1") -> None:
    """Publish the end of a build."""
    done = BuildDone(id=build_id, target_image=image, platform="", succeeded=True, finished=datetime.now(UTC))
    await publish(nats.stream, done)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  another process changes it
            await asyncio.sleep(0.02)


async def letters(nats: Nats, count: int) -> list[DeadLetter]:
    """Wait until there are *count* dead letters."""
    async with asyncio.timeout(60):
        while len(found := [letter async for letter in dead_letters(nats.stream)]) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found


async def test_a_webhook_gets_one_signed_event(
    nats: Nats, redis: Redis, receiver: HttpReceiver, tmp_path: Path
) -> None:
    """Also if two gateways send notices, and the event is published again."""
    file = webhooks(tmp_path, receiver, "hook", "last")
    async with sending(nats, redis, webhooks_file=file) as notices, gateway(nats, redis, webhooks_file=file):
        await notices.follow(ADA, "bd-1_1", "bd-2_1")
        for build_id in ("bd-1_1", "bd-1_1", "bd-2_1"):
            await end(nats, build_id)
        await until(lambda: len(receiver.of("hook")) >= 2 and len(receiver.of("last")) >= 2)
        async with asyncio.timeout(30):
            while (await nats.stream.stream_info("NOTICES")).state.messages:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    assert sorted(each.headers["webhook-id"] for each in receiver.of("hook")) == ["bd-1_1", "bd-2_1"]
    request = receiver.of("hook")[0]
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.content
    expected = base64.b64encode(hmac.digest(KEY, signed, "sha256")).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
    assert request.headers["content-type"].startswith("application/cloudevents+json")
    event = msgspec.json.decode(request.content)
    assert event["specversion"] == "1.0"
    assert event["type"] == "swell.build.done"


async def test_what_no_receiver_accepts_is_a_dead_letter_and_can_be_replayed(
    nats: Nats, redis: Redis, receiver: HttpReceiver, tmp_path: Path
) -> None:
    """A receiver that fails, one that redirects to loopback, and one that never answers do not stop the fourth."""
    receiver.statuses["broken"] = 500
    file = webhooks(tmp_path, receiver, "broken", "away", "hang", "fine")
    async with sending(nats, redis, webhooks_file=file) as notices:
        await notices.follow(ADA, "bd-1_1")
        await end(nats)
        await until(lambda: receiver.of("fine"))
        found = await letters(nats, 3)

        assert {msgspec.json.decode(letter.content)["webhook"] for letter in found} == {"broken", "away", "hang"}
        assert not receiver.of("secret"), "a redirect is not followed"
        assert not any(SECRET.encode() in letter.content or "s" * 32 in letter.reason for letter in found)
        assert any("answers 500" in letter.reason for letter in found)

        receiver.statuses["broken"] = 200
        count = len(receiver.of("broken"))
        [broken] = [letter for letter in found if b'"broken"' in letter.content]
        await replay(nats.stream, broken)
        await until(lambda: len(receiver.of("broken")) == count + 1)
    assert len(receiver.of("fine")) == 1


async def test_users_get_e_mail_over_tls_with_a_password(
    nats: Nats, redis: Redis, mail: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Names of clients are text; a server that is busy gets the message later, and only once."""
    mail.busy = 1
    mail.refused.add("gone@example.org")
    async with sending(nats, redis, **mail_settings(mail)) as notices:
        await notices.follow(ADA, "bd-1_1")
        await notices.follow(Identity(user='<img src="x">', email="bob@example.org"), "bd-1_1")
        await notices.follow(Identity(user="gone", email="gone@example.org"), "bd-1_1")
        await notices.follow(Identity(user="off", email="off@example.org", notification="ALWAYS_OFF"), "bd-1_1")
        await RedisPreferences(redis).put("quiet", Preference.ON_ERROR)
        await notices.follow(Identity(user="quiet", email="quiet@example.org"), "bd-1_1")
        await notices.follow(Identity(user="eve", email="eve@example.org\r\nRCPT TO:<x@example.org>"), "bd-1_1")
        await end(nats, image='registry.example.org/b/"><script>:1')
        await until(lambda: len(mail.messages) >= 2)
        async with asyncio.timeout(30):
            while (await nats.stream.stream_info("NOTICES")).state.messages:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    assert sorted(mail.recipients) == ["ada@example.org", "bob@example.org"]
    for message in mail.messages:
        body = message.get_body(("html",))
        assert body
        assert "<script" not in body.get_content()
        assert "<img" not in body.get_content()
    assert set(await redis.hkeys("swell:followers:bd-1_1")) == {b"off", b"quiet"}
    assert SMTP_PASSWORD not in caplog.text


async def test_nothing_is_sent_without_encryption(nats: Nats, redis: Redis, mail: MailServer, tmp_path: Path) -> None:
    """A server with a certificate of another authority gets neither the password nor the message."""
    settings = mail_settings(mail) | {"ca_file": None}
    async with sending(nats, redis, **settings) as notices:
        await notices.follow(ADA, "bd-1_1")
        await end(nats)
        [letter] = await letters(nats, 1)

    assert mail.messages == []
    assert "the mail server fails" in letter.reason
    assert SMTP_PASSWORD not in letter.reason
    assert b"ada@example.org" not in letter.content


async def test_users_have_webhooks_that_reach_no_private_address(
    nats: Nats, redis: Redis, receiver: HttpReceiver
) -> None:
    """Unless the operator has named the host. A literal address is refused at the connection, as each other name."""
    ada, owner = Actor("ada", ADA), "user:ada"
    connections: list[asyncio.StreamWriter] = []
    inside = await asyncio.start_server(lambda _, writer: connections.append(writer), "127.0.0.1", 0)
    port = inside.sockets[0].getsockname()[1]
    settings = {"encryption_keys": new_key("first"), "webhook_hosts": frozenset({f"127.0.0.1:{receiver.port}"})}
    with suppress(NotFoundError):
        await nats.stream.delete_stream(STREAM.name or "")
    async with inside, gateway(nats, redis, **settings) as parts:
        _, secret = await parts.store.put(ada, owner, "fine", receiver.url("fine"), ())
        for host in ("127.0.0.1", "localhost"):
            await parts.store.put(ada, owner, host, f"https://{host}:{port}/", ("build",))
        await parts.follow.follow(ADA, "bd-1_1")
        await end(nats)
        found = await letters(nats, 2)
        await until(lambda: receiver.of("fine"))

    assert {msgspec.json.decode(letter.content)["webhook"] for letter in found} == {"127.0.0.1", "localhost"}
    assert connections == []
    request = receiver.of("fine")[0]
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.content
    key = base64.b64decode(secret.removeprefix("whsec_"))
    assert request.headers["webhook-signature"] == "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    stored = [await redis.get(name) for name in await redis.keys("swell:encrypted:*")]
    assert len(stored) == 3
    assert secret not in repr(stored)
