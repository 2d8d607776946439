"""The audit trail in JetStream: all gateways write one chain of batches, and the command shows it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from nats.js.errors import NotFoundError
from redis.asyncio import Redis

from gateway.access.webhooks import OwnWebhook
from gateway.adapters.access.sessions import RedisSessions
from gateway.adapters.access.vaults import RedisVaults
from gateway.adapters.audit.head import AuditHead
from gateway.adapters.audit.pseudonyms import Pseudonyms
from gateway.adapters.audit.trail import QUEUE, SEALED, AuditLog, AuditWriter, batches, open_streams
from gateway.adapters.notices.webhooks import RedisWebhooks
from gateway.audit.chain import ChainBroken, hash_of, verify
from gateway.audit.events import Action, AuditEvent
from gateway.commands.audit import Selection, Settings, export, remove_user
from gateway.commands.audit import verify as verify_all
from gateway.domain.access.identity import Identity
from gateway.domain.access.session import new_session
from gateway.domain.access.vault import Entry, user_owner
from swell.encryption import KEY_BYTES, EncryptionKeys
from swell.errors import NotFound
from swell.jobs.settings import NatsSettings
from swell.jobs.streams import Nats, create_missing
from swell.registry.credentials.keyring import Credentials
from swell.store.connections.settings import RedisSettings
from swell.store.encrypted import EncryptedRecords
from swell_embedded.stack import Stack

AGE = timedelta(days=365)


@pytest.fixture
async def trail(nats: Nats) -> Nats:
    """NATS with empty streams of the audit trail."""
    for name in (QUEUE, SEALED):
        with suppress(NotFoundError):
            await nats.stream.delete_stream(name)
    await open_streams(nats, AGE)
    return nats


@pytest.fixture
def settings(backends: Stack) -> Settings:
    return Settings(
        redis=RedisSettings(url=backends.env["SWELL_REDIS_URL"]), nats=NatsSettings(url=backends.env["SWELL_NATS_URL"])
    )


@asynccontextmanager
async def writing(nats: Nats, redis: Redis, writers: int = 1) -> AsyncIterator[AuditLog]:
    """A log, and *writers* that seal its events."""
    log = AuditLog(nats)
    tasks = [asyncio.create_task(log.run())]
    head = AuditHead(redis)
    tasks += [asyncio.create_task(AuditWriter(nats, Pseudonyms(redis), AGE, head).run()) for _ in range(writers)]
    try:
        yield log
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def sealed(nats: Nats, count: int) -> list[AuditEvent]:
    """Wait until *count* events are sealed, and return them; the chain is intact."""
    async with asyncio.timeout(60):
        while True:
            contents = [content async for content in batches(nats)]
            events = [event for checked in verify(contents) for event in checked.batch.events]
            if len({event.id for event in events}) >= count:
                return events
            await asyncio.sleep(0.05)


async def test_several_writers_make_one_chain(trail: Nats, redis: Redis) -> None:
    """Each gateway has a writer; no event is lost or sealed twice, and each batch follows the one before it."""
    async with writing(trail, redis, writers=3) as log:
        for number in range(300):
            log.record(Action.GRANTED, user=f"user-{number % 3}", subject=str(number), image="docker.io/library/ubuntu")
            if number % 50 == 0:
                await asyncio.sleep(0.05)  # several batches
        events = await sealed(trail, 300)
        async with asyncio.timeout(30):
            while (await trail.stream.stream_info(QUEUE)).state.messages:  # noqa: ASYNC110  another process changes it
                await asyncio.sleep(0.05)

    assert sorted(int(event.subject) for event in events) == list(range(300))
    assert len({event.user for event in events}) == 3


async def test_no_name_is_in_the_chain(trail: Nats, redis: Redis) -> None:
    """Names are in Redis alone, where they can be removed."""
    async with writing(trail, redis) as log:
        log.record(Action.KEY_ISSUED, user="grace hopper", actor="ops", subject="k1")
        await sealed(trail, 1)

    content = b"".join([content async for content in batches(trail)])
    assert b"grace" not in content
    assert b"ops" not in content
    assert sorted((await Pseudonyms(redis).names()).values()) == ["grace hopper", "ops"]


async def test_the_command_exports_by_time_user_and_image(
    trail: Nats, redis: Redis, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON lines, with the names of users; a removed user has a pseudonym, and the chain stays intact."""
    async with writing(trail, redis) as log:
        log.record(Action.GRANTED, user="ada", image="docker.io/library/ubuntu:24.04")
        log.record(Action.KEY_REVOKED, user="bob", actor="ada")
        log.record(Action.GRANTED, user="bob", image="quay.io/acme/tool:1")
        events = await sealed(trail, 3)

    async def exported(**selection: Any) -> list[dict[str, Any]]:
        await export(settings, Selection(**selection))
        return [msgspec.json.decode(line) for line in capsys.readouterr().out.splitlines() if line[:1] == "{"]

    assert [event.get("user") for event in await exported()] == ["ada", "bob", "bob"]
    assert [event["action"] for event in await exported(user="ada")] == ["container.granted", "key.revoked"]
    assert [event["user"] for event in await exported(image="acme/tool")] == ["bob"]
    assert await exported(until=events[0].time) == []
    assert len(await exported(since=events[1].time)) == 2

    await remove_user(settings, "ada")
    assert "ada" not in capsys.readouterr().out
    async with writing(trail, redis):
        await sealed(trail, 4)
    everything = await exported()
    assert everything[0]["user"].startswith("person-")
    assert everything[1]["actor"] == everything[0]["user"]
    assert everything[-1] | {"id": "", "time": ""} == {
        "id": "",
        "time": "",
        "action": "user.removed",
        "subject": everything[0]["user"],
    }
    assert "ada" not in str(everything)


async def test_the_command_detects_a_changed_trail(
    trail: Nats, redis: Redis, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Someone with access to NATS has written the batches again: each follows the other, but the old head is gone."""
    async with writing(trail, redis) as log:
        for number in range(3):
            log.record(Action.GRANTED, user="ada", subject=str(number))
            await sealed(trail, number + 1)
    contents = [content async for content in batches(trail)]
    head = hash_of(contents[1])
    await verify_all(settings, head)
    assert f"with the hash {hash_of(contents[-1])}" in capsys.readouterr().out

    await trail.stream.delete_stream(SEALED)
    await open_streams(trail, AGE)
    await trail.stream.publish("audit.sealed", contents[0])
    await trail.stream.publish("audit.sealed", contents[1].replace(b'"subject":"1"', b'"subject":"9"'))
    with pytest.raises(ChainBroken, match="no batch"):
        await verify_all(settings, head)
    await trail.stream.publish("audit.sealed", contents[2])
    with pytest.raises(ChainBroken, match="after batch 2"):
        await verify_all(settings)


async def test_the_command_detects_missing_and_moved_batches(
    trail: Nats, redis: Redis, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also the last one, without a hash that the operator has stored: Redis has it, for as long as the batch lives."""
    async with writing(trail, redis) as log:
        for number in range(3):
            log.record(Action.GRANTED, subject=str(number))
            await sealed(trail, number + 1)
        async with asyncio.timeout(30):
            while (await trail.stream.stream_info(QUEUE)).state.messages:  # noqa: ASYNC110  another task changes it
                await asyncio.sleep(0.05)
    first, second, third = [content async for content in batches(trail)]
    await verify_all(settings)
    assert "3 events, up to batch 3" in capsys.readouterr().out
    assert 0 < await redis.ttl("swell:audit-head") <= AGE.total_seconds()

    for changed in ([first, second], [first, third], [second, first, third], [first, second, third[:-9]], []):
        await trail.stream.delete_stream(SEALED)
        await open_streams(trail, AGE)
        for content in changed:
            await trail.stream.publish("audit.sealed", content)
        with pytest.raises(ChainBroken):
            await verify_all(settings)


async def test_a_removed_user_leaves_nothing_behind(
    trail: Nats, redis: Redis, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sessions end and credentials are deleted, also if the command has no encryption keys."""
    sessions, owner = RedisSessions(redis), user_owner("ada")
    await sessions.add("s" * 43, new_session(Identity(user="ada"), datetime.now(UTC), timedelta(hours=1)))
    records = EncryptedRecords(redis, EncryptionKeys({"k": secrets.token_bytes(KEY_BYTES)}))
    vaults = RedisVaults(redis, records)
    entry = Entry(user_name="robot", stored=datetime.now(UTC), stored_by="ada")
    await vaults.put(owner, "quay.io", entry, Credentials("robot", "secret"), 5)
    webhooks, webhook = RedisWebhooks(redis, records), OwnWebhook(url="x", events=(), stored=entry.stored, stored_by="")
    await webhooks.put(owner, "bot", webhook, "whsec_x", 5)

    await remove_user(settings, "ada")

    assert "0 keys revoked, 1 sessions ended, 1 credentials and 1 webhooks deleted" in capsys.readouterr().out
    assert await sessions.get("s" * 43) is None
    assert await vaults.credentials(owner, "quay.io") is None
    assert await webhooks.of(owner) == {}
    assert await redis.keys("swell:encrypted:*") == []
    with pytest.raises(NotFound):
        await remove_user(settings, "ada")


async def test_both_streams_are_created_again(trail: Nats) -> None:
    """As all other streams: when the server has lost its disk, with the settings of the gateway."""
    for name in (QUEUE, SEALED):
        await trail.stream.delete_stream(name)

    await create_missing(trail.stream)

    assert (await trail.stream.stream_info(QUEUE)).config.retention == "workqueue"
    assert (await trail.stream.stream_info(SEALED)).config.max_age == AGE.total_seconds()


async def test_events_wait_while_the_queue_is_missing(trail: Nats, redis: Redis) -> None:
    """The server has lost its disk: the streams are created again, and the events of this process are stored."""
    async with writing(trail, redis) as log:
        log.record(Action.GRANTED, subject="1")
        await sealed(trail, 1)
        await trail.stream.delete_stream(QUEUE)
        log.record(Action.GRANTED, subject="2")

        assert [event.subject for event in await sealed(trail, 2)] == ["1", "2"]


async def test_a_foreign_message_in_the_trail_stops_no_gateway(trail: Nats, redis: Redis) -> None:
    """It ended each gateway as often as it was started. It cannot be removed, so events are sealed after it."""
    await trail.stream.publish("audit.sealed", b'{"a": 1}')
    async with writing(trail, redis) as log, asyncio.timeout(60):
        for subject in ("1", "2"):
            log.record(Action.GRANTED, user="ada", subject=subject, image="docker.io/library/ubuntu")
            while (await trail.stream.stream_info(SEALED)).state.messages <= int(subject):  # noqa: ASYNC110  as above
                await asyncio.sleep(0.05)
        foreign, *ours = [content async for content in batches(trail)]

    events = [event for checked in verify(ours) for event in checked.batch.events]
    assert [event.subject for event in events] == ["1", "2"]
    with pytest.raises(ChainBroken):
        list(verify([foreign, *ours]))
