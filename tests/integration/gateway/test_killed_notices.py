"""Gateways are killed at random moments while they send notices: each notice arrives, and at its own tenant only."""

import asyncio
import json
import random
import secrets
import sys
from asyncio.subprocess import Process
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.js.errors import NotFoundError
from redis.asyncio import Redis

from gateway.access.keys import Actor
from gateway.adapters.notices.followers import RedisFollowers
from gateway.adapters.notices.webhooks import RedisWebhooks
from gateway.domain.access.identity import Identity
from gateway.domain.notices import Follower
from gateway.parts.notices import STREAM, store_of
from swell.encryption import new_key, parse_keys
from swell.jobs.dead_letters import dead_letters
from swell.jobs.messages import BuildDone
from swell.jobs.publish import publish
from swell.jobs.streams import Nats
from swell.store.encrypted import EncryptedRecords
from swell_embedded.stack import Stack
from tests.integration.gateway.notifying import settings_of
from tests.notice_receivers import SMTP_PASSWORD, SMTP_USER, HttpReceiver, MailServer, http_receiver, mail_server

USERS = ("ada", "bob", "carol")
BROKEN = "carol"
"""Her webhook accepts nothing."""
ENDS, KILLS = 30, 4


class Gateways:
    """Two processes, one of which is killed now and then, and started again."""

    def __init__(self, backends: Stack, members: dict[str, Any]) -> None:
        self._urls = backends.env["SWELL_NATS_URL"], backends.env["SWELL_REDIS_URL"]
        self._members = json.dumps(members).encode() + b"\n"
        self._running: list[Process] = []

    async def start(self) -> None:
        command = (sys.executable, "-m", "tests.integration.gateway.notifying", *self._urls)
        process = await asyncio.create_subprocess_exec(*command, stdin=-1, stdout=-1, stderr=asyncio.subprocess.DEVNULL)
        assert process.stdin
        assert process.stdout
        self._running.append(process)
        process.stdin.write(self._members)
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"

    async def kill_one(self) -> None:
        process = self._running.pop(random.randrange(len(self._running)))  # noqa: S311  (no secret)
        process.kill()
        await process.wait()

    async def stop(self) -> None:
        while self._running:
            await self.kill_one()


@pytest.fixture
async def receiver() -> AsyncIterator[HttpReceiver]:
    async with http_receiver() as receiver:
        yield receiver


@pytest.fixture
async def mail(tmp_path: Path) -> AsyncIterator[MailServer]:
    async with mail_server(tmp_path) as server:
        yield server


@asynccontextmanager
async def gateways(
    backends: Stack, nats: Nats, redis: Redis, receiver: HttpReceiver, mail: MailServer
) -> AsyncIterator[Gateways]:
    """Two gateways, with a webhook and an e-mail address for each user."""
    encryption = new_key("first")
    members: dict[str, Any] = {
        "encryption_keys": encryption,
        "webhook_hosts": [f"127.0.0.1:{receiver.port}"],
        "smtp_host": "localhost",
        "smtp_port": mail.port,
        "smtp_user": SMTP_USER,
        "smtp_password": SMTP_PASSWORD,
        "smtp_from": "swell@example.org",
        "ca_file": str(mail.ca_file),
    }
    with suppress(NotFoundError):
        await nats.stream.delete_stream(STREAM.name or "")
    settings = settings_of({"webhook_hosts": frozenset(members["webhook_hosts"])})
    keys = parse_keys(encryption)
    assert keys
    store = store_of(settings, RedisWebhooks(redis, EncryptedRecords(redis, keys)), _Silent())
    for user in USERS:
        await store.put(Actor(user, Identity(user=user)), f"user:{user}", "hook", receiver.url(user), ("build",))
    both = Gateways(backends, members)
    try:
        await asyncio.gather(both.start(), both.start())
        yield both
    finally:
        await both.stop()


class _Silent:
    def record(self, *_: object, **__: object) -> None: ...


async def test_kills_lose_no_notice_and_mix_up_no_tenants(
    backends: Stack, nats: Nats, redis: Redis, receiver: HttpReceiver, mail: MailServer
) -> None:
    """Each end arrives at least once as webhook and e-mail of its user; what is refused for good is a dead letter."""
    followers, ends = RedisFollowers(redis), defaultdict[str, set[str]](set)
    receiver.statuses[BROKEN], receiver.delay = 500, 0.1  # so that kills interrupt requests
    async with gateways(backends, nats, redis, receiver, mail) as both:
        for number in range(ENDS):
            user, build_id = USERS[number % len(USERS)], f"bd-{secrets.token_hex(8)}_1"
            ends[user].add(build_id)
            await followers.add(build_id, Follower(user=user, email=f"{user}@example.org"))

        async def publish_ends() -> None:
            for build_id in sorted(set().union(*ends.values())):
                done = BuildDone(
                    id=build_id, target_image="x/y:1", platform="", succeeded=True, finished=datetime.now(UTC)
                )
                await publish(nats.stream, done)
                await asyncio.sleep(random.uniform(0, 0.15))  # noqa: S311  (no secret)

        publishing = asyncio.create_task(publish_ends())
        for _ in range(KILLS):
            await asyncio.sleep(random.uniform(0, 0.6))  # noqa: S311
            await both.kill_one()
            await both.start()
        await publishing

        async with asyncio.timeout(120):
            while await waiting(nats):  # noqa: ASYNC110  other processes change it
                await asyncio.sleep(0.1)

    for user in USERS:
        for way, arrived in (("webhook", hooked(receiver, user)), ("e-mail", mailed(mail, user))):
            assert not (ends[user] - arrived), f"lost: no notice waits any more, and {user} got no {way} about these"
            assert not (arrived - ends[user]), f"{user} got a {way} about builds of others"
    assert await dead(nats) == ends[BROKEN], "each refused notice is a dead letter, and no other one"


async def waiting(nats: Nats) -> int:
    """The ends whose notices are not queued yet, and the notices that are not acknowledged: what a kill cannot lose."""
    consumer = await nats.stream.consumer_info("EVENTS", "gateway-build-ends")
    notices = (await nats.stream.stream_info(STREAM.name or "")).state.messages
    return (consumer.num_pending or 0) + (consumer.num_ack_pending or 0) + notices


def hooked(receiver: HttpReceiver, user: str) -> set[str]:
    return {each.headers["webhook-id"] for each in receiver.of(user)}


def mailed(mail: MailServer, user: str) -> set[str]:
    """The builds in the messages to *user*."""
    pairs = zip(mail.recipients, mail.messages, strict=True)
    return {str(message["Subject"]).split()[2] for recipient, message in pairs if recipient == f"{user}@example.org"}


async def dead(nats: Nats) -> set[str]:
    """The builds whose notices are dead letters; all of them are for the broken webhook."""
    letters = [msgspec.json.decode(letter.content) async for letter in dead_letters(nats.stream)]
    assert {letter["owner"] for letter in letters} <= {f"user:{BROKEN}"}
    return {letter["end"]["id"] for letter in letters}
